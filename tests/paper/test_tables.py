from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conemos_bundle.paper.collect import collect, find_runs
from conemos_bundle.paper.parts import Table, markdown
from conemos_bundle.paper.statistics import average_seeds, compare
from conemos_bundle.paper.tables import appendix_b, cost, cost_table

OURS = np.array([0.90, 0.92, 0.94, 0.91, 0.93, 0.95, 0.96, 0.89])


def _cells(table: Table) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in markdown(table).splitlines()]


def test_appendix_b(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    """PSL loss is clearly worse in the body and has the same mean in the eyes; nothing has a brain."""
    worse = OURS - np.linspace(0.01, 0.03, 8)
    nothing = [np.nan] * 8
    write_run(tmp_path / "a", {"body": OURS, "eyes": OURS, "brain": nothing})
    write_run(tmp_path / "b", {"body": worse, "eyes": OURS[::-1], "brain": nothing}, method="PSL loss")
    comparison = compare(average_seeds(collect(tmp_path)), ["body", "eyes", "brain"])
    mean, deviation = 100 * OURS.mean(), 100 * OURS.std(ddof=1)
    eyes = f"**{mean:.1f} ± {deviation:.1f}**"
    assert _cells(appendix_b(comparison, "dice")) == [
        ["Method", "body", "eyes", "brain", "mean over regions"],
        ["---", "---:", "---:", "---:", "---:"],
        ["PSL loss", f"{100 * worse.mean():.1f} ± {100 * worse.std(ddof=1):.1f} \\*", eyes, "n/a", "91.5"],
        ["CoNeMOS", f"**{mean:.1f} ± {deviation:.1f}**", eyes, "n/a", "**92.5**"],
    ]
    distances = _cells(appendix_b(comparison, "sd95_voxels"))
    assert distances[2][1] == f"{10 * (1 - worse.mean()):.2f} ± {10 * worse.std(ddof=1):.2f} \\*"  # the larger mean
    assert distances[3][1].startswith(f"**{10 * (1 - OURS.mean()):.2f} ±")


def test_cost_is_the_mean_over_runs(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "a", {"body": OURS})
    write_run(tmp_path / "b", {"body": OURS}, seed=1)
    write_run(tmp_path / "c", {"body": OURS}, method="DoDNet", done=0)
    runs = find_runs(tmp_path)
    (tmp_path / "b" / "curve.csv").write_text(
        "epoch,step,seconds,loss,learning_rate,validation_dice\n1,10,1000,1,0.1,\n4,40,21600,1,0.1,\n"
    )
    unmeasured = cost(runs)
    assert unmeasured["method"].tolist() == ["DoDNet", "CoNeMOS"]
    # 4 epochs of 10 steps of 360 s, 4 h, and 6 h
    np.testing.assert_allclose(unmeasured["training_hours"], [np.nan, 5.0])
    assert unmeasured["parameters"].tolist() == [1_500_006, 1_500_007]
    assert unmeasured["milliseconds"].isna().all()
    times = pd.DataFrame({"method": ["CoNeMOS", "DoDNet"], "milliseconds": [20.04, 15.0], "ratio": [1, 0.7485]})
    assert _cells(cost_table(cost(runs, times)))[2:] == [
        ["DoDNet", "1.50", "n/a", "15.0", "0.75"],
        ["CoNeMOS", "1.50", "5.00", "20.0", "1.00"],
    ]


@pytest.mark.parametrize("metric", ["dice", "sd95_voxels", "sd95_mm"])
def test_one_best_mean_a_column_where_means_differ(metric: str, tmp_path: Path, write_run: Callable[..., Path]) -> None:
    for place, method in enumerate(["CoNeMOS", "DoDNet", "PSL loss"]):
        write_run(tmp_path / method, {"body": OURS - 0.05 * place}, method=method)
    comparison = compare(average_seeds(collect(tmp_path)), ["body"])
    assert markdown(appendix_b(comparison, metric)).count("**") == 2 * 2  # CoNeMOS, in the region and in the mean
