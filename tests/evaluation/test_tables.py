from __future__ import annotations

import json
import math
import statistics

import pandas as pd
import pytest
from conemos_bundle.evaluation import tables

NAN = math.nan


def _rows(*values: tuple[str, str, float]) -> pd.DataFrame:
    """Rows from (scan, region, Dice); SD95 is 10 (1 - Dice) voxels of 3 mm."""
    rows = [
        {"scan": s, "subject": s, "region": r, "dice": d, "sd95_mm": 30 * (1 - d), "sd95_voxels": 10 * (1 - d)}
        for s, r, d in values
    ]
    return pd.DataFrame(rows, columns=list(tables.ROW_COLUMNS))


BRAIN = [0.9, 0.6, 0.75, 0.95]
ROWS = _rows(*((f"scan{i}", "brain", d) for i, d in enumerate(BRAIN)), ("scan0", "eyes", 0.5), ("scan1", "eyes", NAN))


def test_statistics_of_each_region() -> None:
    summary = tables.summarise(ROWS, ["eyes", "brain", "uterus"])
    assert list(summary.index) == ["eyes", "brain", "uterus"]
    brain = summary.loc["brain", "dice"]
    assert brain["mean"] == pytest.approx(statistics.mean(BRAIN))
    assert brain["standard_deviation"] == pytest.approx(statistics.stdev(BRAIN))
    assert brain["median"] == pytest.approx(0.825)
    assert brain["n"] == 4
    assert summary.loc["brain", ("sd95_mm", "median")] == pytest.approx(
        3 * summary.loc["brain", ("sd95_voxels", "median")]
    )


def test_rows_without_value_do_not_count() -> None:
    summary = tables.summarise(ROWS, ["brain", "eyes", "uterus"])
    eyes, uterus = summary.loc["eyes", "dice"], summary.loc["uterus", "dice"]
    assert (eyes["mean"], eyes["n"]) == (0.5, 1)
    assert math.isnan(eyes["standard_deviation"])
    assert math.isnan(uterus["mean"])
    assert uterus["n"] == 0


def test_mean_over_regions_leaves_out_regions_without_value() -> None:
    means = tables.mean_over_regions(tables.summarise(ROWS, ["brain", "eyes", "uterus"]))
    assert means["dice"] == pytest.approx((0.8 + 0.5) / 2)
    assert means["sd95_voxels"] == pytest.approx((2 + 5) / 2)


def test_no_rows() -> None:
    summary = tables.summarise(_rows(), ["brain"])
    assert summary.loc["brain", ("dice", "n")] == 0
    assert tables.to_dict(summary)["mean_over_regions"]["dice"] is None


def test_dictionary_is_strict_json() -> None:
    content = tables.to_dict(tables.summarise(ROWS, ["brain", "eyes", "uterus"]))
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["regions"]["eyes"]["dice"] == {"mean": 0.5, "standard_deviation": None, "median": 0.5, "n": 1}
    assert content["regions"]["uterus"]["sd95_mm"] == dict.fromkeys(("mean", "standard_deviation", "median")) | {"n": 0}


def test_regions_of_which_nothing_was_found() -> None:
    rows = ROWS.assign(reference_ml=1.0, predicted_ml=[0.0, 2.0, 1.0, 1.0, 0.0, 0.0])
    assert tables.not_found(rows) == (
        "Nothing found: brain in 1 of 4 scans, eyes in 2 of 2 scans. SD95 is then the longest side of the scan."
    )
    assert tables.not_found(rows.assign(reference_ml=0.0)) == ""  # nothing is there
    assert tables.not_found(rows.iloc[:0]) == ""


def test_markdown() -> None:
    text = tables.to_markdown(tables.summarise(ROWS, ["brain", "eyes", "uterus"]))
    header, rule, brain, eyes, uterus, mean = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()
    )
    assert {len(line) for line in (header, rule, brain, eyes, uterus, mean)} == {10}
    assert brain[:6] == ["brain", "0.800 ± 0.158", "0.825", "4", "6.00 ± 4.74", "5.25"]
    assert eyes[:4] == ["eyes", "0.500", "0.500", "1"]
    assert uterus[:4] == ["uterus", "n/a", "n/a", "0"]
    assert mean[:5] == ["**mean over regions**", "0.650", "", "", "10.50"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], {}),
        ([0.4], {"only": 0.4}),
        ([0.4, 0.6], {"best": 0.6, "worst": 0.4}),
        ([0.4, 0.9, 0.6], {"best": 0.9, "median": 0.6, "worst": 0.4}),
        ([0.4, 0.9, NAN, 0.5, 0.6], {"best": 0.9, "median": 0.6, "worst": 0.4}),
    ],
)
def test_best_median_worst(scores: list[float], expected: dict[str, float]) -> None:
    picks = tables.best_median_worst(_rows(*((f"scan{i}", "brain", d) for i, d in enumerate(scores))))
    assert [(role, row["dice"]) for role, row in picks] == list(expected.items())
