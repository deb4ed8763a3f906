"""Tables of an evaluation: from one row a scan and region to a summary of each region.

The rows are a pandas DataFrame with `ROW_COLUMNS`; a metric without a value is NaN, and left out of every statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

METRICS = {"dice": "Dice", "sd95_mm": "SD95 (mm)", "sd95_voxels": "SD95 (voxels)"}
STATISTICS = ("mean", "standard_deviation", "median", "n")
ROW_COLUMNS = ("scan", "subject", "region", *METRICS, "reference_ml", "predicted_ml")

_DECIMALS = {"dice": 3, "sd95_mm": 2, "sd95_voxels": 2}
_NO_VALUE = "n/a"


def summarise(rows: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """Statistics of each region and metric.

    Args:
        rows: one row a scan and annotated region, with `ROW_COLUMNS`.
        regions: the regions in the order wanted.

    Returns:
        one row a region, with columns (metric, statistic), the statistics ``mean``, ``standard_deviation`` (ddof 1),
        ``median`` and ``n``, the number of scans that have a value. Statistics without enough scans are NaN.
    """
    groups = rows.astype(dict.fromkeys(METRICS, float)).groupby("region")[list(METRICS)]
    table = groups.agg(["mean", "std", "median", "count"]).reindex(list(regions))
    table.columns = pd.MultiIndex.from_product([METRICS, STATISTICS])
    counts = pd.IndexSlice[:, "n"]
    table.loc[:, counts] = table.loc[:, counts].fillna(0)
    return table


def mean_over_regions(summary: pd.DataFrame) -> pd.Series:
    """The mean of each metric over the regions' means; regions without any value are left out."""
    return summary.xs("mean", axis="columns", level=1).mean()


def to_dict(summary: pd.DataFrame) -> dict[str, Any]:
    """`summarise`'s table for JSON; a statistic without a value is None, since JSON has no NaN.

    Returns:
        ``{"regions": {region: {metric: {statistic: value}}}, "mean_over_regions": {metric: value}}``.
    """
    regions = {
        region: {
            metric: {
                statistic: int(row[metric, statistic]) if statistic == "n" else _number(row[metric, statistic])
                for statistic in STATISTICS
            }
            for metric in METRICS
        }
        for region, row in summary.iterrows()
    }
    return {
        "regions": regions,
        "mean_over_regions": {metric: _number(value) for metric, value in mean_over_regions(summary).items()},
    }


def to_markdown(summary: pd.DataFrame) -> str:
    """`summarise`'s table in Markdown: mean ± standard deviation, median and number of scans a region and metric."""
    header = ["Region"]
    for name in METRICS.values():
        header += [f"{name}, mean ± SD", "median", "n"]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for region, row in summary.iterrows():
        cells = [str(region)]
        for metric in METRICS:
            mean, deviation, median = (_text(row[metric, statistic], metric) for statistic in STATISTICS[:3])
            cells += [mean if deviation == _NO_VALUE else f"{mean} ± {deviation}", median, str(int(row[metric, "n"]))]
        lines.append(cells)
    means = mean_over_regions(summary)
    last = ["**mean over regions**"]
    for metric in METRICS:
        last += [_text(means[metric], metric), "", ""]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [*lines, last]) + "\n"


def best_median_worst(rows: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """The best, median and worst scan of one region by Dice.

    Args:
        rows: the rows of one region, with `ROW_COLUMNS`.

    Returns:
        ("best" | "median" | "worst", row) in this order, each scan once: two scans have no median, one is "only". Of an
        even number of scans the better of the two in the middle is the median. Rows without Dice are left out.
    """
    ranked = rows.dropna(subset=["dice"]).sort_values(["dice", "scan"], ascending=[False, True])
    if len(ranked) <= 1:
        return [("only", row) for _, row in ranked.iterrows()]
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    if len(ranked) == 2:
        del places["median"]
    return [(role, ranked.iloc[place]) for role, place in places.items()]


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _text(value: float, metric: str) -> str:
    return _NO_VALUE if pd.isna(value) else f"{value:.{_DECIMALS[metric]}f}"
