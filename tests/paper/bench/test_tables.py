from __future__ import annotations

import pandas as pd
import pytest
from conemos_bundle.paper.bench.groups import Group, Result
from conemos_bundle.paper.bench.tables import figure, measurements, ratio, result_table

STEP = Result(
    Group("step", "A step", {}, ("plain", "monai"), "float32"),
    {"plain": [0.1, 0.2, 0.4], "monai": [0.2, 0.4, 0.8], "ours": [0.3, 0.3, 0.3]},
    {"plain": 10**9, "monai": 2 * 10**9, "ours": 3 * 10**8, "slow": 1},
    {"slow": "took 70 s at once, more than 60 s"},
)
MEMORY = Result(Group("memory", "Peak", {}, ("plain",)), {"plain": [200.0], "ours": [50.0]}, {}, {}, "MiB")


def test_the_ratio_is_the_median_over_rounds() -> None:
    assert ratio([1, 2, 9], [1, 1, 3]) == 2  # 1, 2 and 3; that of the medians is the same
    assert ratio([0.3, 0.3, 0.3], [0.1, 0.2, 0.4]) == pytest.approx(1.5)
    assert ratio([1, 10, 10], [2, 1, 5]) == 2  # 0.5, 10 and 2; that of the medians is 5


def test_a_table_of_times() -> None:
    assert result_table(STEP, {"float32": 20e9}).splitlines() == [
        "### A step",
        "",
        "|  | median, ms | quartiles | / plain | / monai | G multiplications | share |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| plain | 200 | 150 to 300 | 1.00 | 0.50 | 1.00 | 25% |",
        "| monai | 400 | 300 to 600 | 2.00 | 1.00 | 2.00 | 25% |",
        "| ours | 300 | 300 to 300 | 1.50 | 0.75 | 0.300 | 5% |",
        "",
        "Left out: slow took 70 s at once, more than 60 s.",
    ]


def test_a_table_of_memory_and_one_without_anything() -> None:
    assert result_table(MEMORY, {}).splitlines()[2:] == [
        "|  | MiB | / plain |",
        "| --- | ---: | ---: |",
        "| plain | 200 | 1.00 |",
        "| ours | 50.0 | 0.25 |",
    ]
    nothing = MEMORY._replace(values={}, left_out={"ours": "does not fit into memory"})
    assert "Nothing was measured.\n\nLeft out: ours does not fit" in result_table(nothing, {})


def test_a_peer_that_was_left_out_has_no_column() -> None:
    alone = STEP._replace(values={"plain": [0.1], "ours": [0.2]})
    assert "| / plain | G" in result_table(alone, {"float32": 1e9})


def test_every_measurement_is_a_row() -> None:
    table = measurements([STEP, MEMORY])
    assert list(table.columns) == ["part", "group", "variant", "round", "seconds", "mib"]
    assert len(table) == 11
    assert table.iloc[4].tolist()[:5] == ["step", "A step", "monai", 2, 0.4]
    assert pd.isna(table.iloc[4]["mib"]) and pd.isna(table.iloc[9]["seconds"])
    assert table.iloc[9]["mib"] == 200


@pytest.mark.parametrize(("value", "text"), [(0.01234, "0.0123"), (1.5, "1.50"), (123.4, "123"), (12345.6, "12346")])
def test_three_digits(value: float, text: str) -> None:
    assert figure(value) == text
