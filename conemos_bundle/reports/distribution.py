"""The spread of a metric over scans, as places along an axis: what the page draws as points and a box per region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

MOST_POINTS = 150  # of a region: more lie over one another
_LANES = 5  # points close to each other are drawn one below the other


class Strip(NamedTuple):
    """One region: places in percent of the axis' length, points with their lane (-2 to 2) and value."""

    region: str
    points: list[tuple[float, int]]
    low: float
    median: float
    high: float
    n: int


class Distribution(NamedTuple):
    """One metric: where the axis has its ticks, in percent, and what is written there; a strip per region."""

    ticks: list[tuple[float, str]]
    strips: list[Strip]


def distribution(rows: pd.DataFrame, metric: str, regions: Sequence[str], top: float | None = None) -> Distribution:
    """Where the values of a metric lie on an axis.

    Args:
        rows: one row per scan and region, with ``region`` and the metric; NaN is left out.
        metric: a column.
        regions: in the order wanted; those without a value are left out.
        top: the axis' end; None: at or above the largest value.

    Returns:
        the median and the quartiles of each region, and its points; of more than 150, as many evenly spaced ranks.

    Example::

        >>> table = pd.DataFrame({"region": ["eye"] * 3, "dice": [0.5, 0.75, 1.0]})
        >>> found = distribution(table, "dice", ["eye"], top=1)
        >>> found.ticks[0], found.ticks[-1], found.strips[0].median, found.strips[0].n
        ((0.0, '0.5'), (100.0, '1'), 50.0, 3)
    """
    values = {
        region: np.sort(rows.loc[rows["region"] == region, metric].dropna().to_numpy(float)) for region in regions
    }
    values = {region: its for region, its in values.items() if len(its)}
    smallest = min((float(its[0]) for its in values.values()), default=0.0)
    largest = top or max((float(its[-1]) for its in values.values()), default=1.0)
    if top is not None and smallest >= top:  # all are perfect: room for an axis
        smallest = top - 0.1
    places = MaxNLocator(nbins=5, steps=(1, 2, 2.5, 5, 10)).tick_values(smallest, max(largest, smallest + 1e-3))
    start, end = float(places[0]), float(top or places[-1])

    def percent(value: float) -> float:
        return round(100 * (float(value) - start) / (end - start), 2)

    ticks = [(percent(place), f"{place:.4g}") for place in places if place <= end + 1e-9]
    strips = []
    for region, its in values.items():
        low, median, high = (percent(np.quantile(its, part)) for part in (0.25, 0.5, 0.75))
        shown = its if len(its) <= MOST_POINTS else its[np.linspace(0, len(its) - 1, MOST_POINTS).round().astype(int)]
        points = [(percent(v), i % _LANES - _LANES // 2) for i, v in enumerate(shown)]
        strips.append(Strip(region, points, low, median, high, len(its)))
    return Distribution(ticks, strips)
