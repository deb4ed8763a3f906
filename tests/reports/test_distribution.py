from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conemos_bundle.reports.distribution import MOST_POINTS, distribution


def test_points_and_box_lie_on_the_axis_of_the_ticks() -> None:
    rows = pd.DataFrame({"region": ["a"] * 5 + ["b"], "dice": [0.6, 0.7, 0.8, 0.9, np.nan, 1.0]})
    found = distribution(rows, "dice", ["b", "c", "a"], top=1.0)
    b, a = found.strips
    assert (b.region, a.region, b.n, a.n) == ("b", "a", 1, 4)  # "c" has no value
    first, last = found.ticks[0], found.ticks[-1]
    start, end = float(first[1]), float(last[1])
    assert (first[0], last[0], end) == (0, 100, 1)
    back = [start + place / 100 * (end - start) for place, _ in a.points]
    assert back == pytest.approx([0.6, 0.7, 0.8, 0.9], abs=1e-3)
    box = [start + place / 100 * (end - start) for place in (a.low, a.median, a.high)]
    assert box == pytest.approx([0.675, 0.75, 0.825], abs=1e-3)
    assert b.low == b.median == b.high == 100


def test_of_many_scans_evenly_spaced_ranks_are_drawn() -> None:
    values = np.random.default_rng(0).exponential(size=1000)
    strip = distribution(pd.DataFrame({"region": "a", "sd95_mm": values}), "sd95_mm", ["a"]).strips[0]
    assert strip.n == 1000 and len(strip.points) == MOST_POINTS
    assert np.median([place for place, _ in strip.points]) == pytest.approx(strip.median, rel=0.02)
    assert all(0 <= place <= 100 for place, _ in strip.points)


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0, 1.0]])
def test_all_perfect(values: list[float]) -> None:
    found = distribution(pd.DataFrame({"region": "a", "dice": values}), "dice", ["a"], top=1.0)
    assert found.ticks[-1] == (100.0, "1") and len(found.ticks) > 1
    assert {place for place, _ in found.strips[0].points} == {100.0}


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0], [np.nan]])
def test_few_values_or_none(values: list[float]) -> None:
    rows = pd.DataFrame({"region": ["a"] * len(values), "sd95_mm": values}, dtype=object)
    found = distribution(rows, "sd95_mm", ["a"])
    assert len(found.ticks) > 1
    assert [strip.points for strip in found.strips] == (
        [[(0.0, -2), (0.0, -1)][: len(values)]] if 0.0 in values else []
    )
