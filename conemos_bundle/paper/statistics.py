"""Statistics of the methods compared: means over scans, and tests against CoNeMOS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from conemos_bundle.evaluation.tables import METRICS, STATISTICS, mean_over_regions, summarise
from conemos_bundle.paper.methods import CONEMOS, in_order
from scipy.stats import wilcoxon

LEVEL = 0.05  # of significance, over all comparisons of a metric
MEAN = "mean over regions"


def average_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over the runs of a method of each scan's metrics, before anything is compared.

    Args:
        rows: rows of `per_scan_rows` of one data set.

    Returns:
        one row per method, scan and region, with the metrics; NaN where no run has a value.
    """
    return rows.groupby(["method", "scan", "region"], as_index=False)[list(METRICS)].mean()


def paired_p(ours: pd.Series, theirs: pd.Series) -> tuple[float, int]:
    """Two-sided p of Wilcoxon's signed-rank test, and the number of pairs.

    Args:
        ours: one value per scan, indexed by scan.
        theirs: the same of the other method; scans without a value in either are left out.

    Returns:
        p is 1 where all differences are zero, and NaN without a pair.
    """
    # means over seeds differ in the last digits, where the test would see ranks instead of ties
    differences = (ours - theirs).dropna().round(9)
    if differences.empty:
        return float("nan"), 0
    if (differences == 0).all():
        return 1.0, len(differences)
    return float(wilcoxon(differences).pvalue), len(differences)


def compare(scans: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """Every method against CoNeMOS (Appendix B): statistics over scans, and Wilcoxon's test per region.

    p is corrected by Bonferroni's rule for the region x method comparisons of a metric.

    Args:
        scans: one row per method, scan and region, as `average_seeds` gives them.
        regions: the regions in the order wanted.

    Returns:
        one row per metric, region and method (paper's order), the last region being `MEAN`: ``mean``,
        ``standard_deviation`` (ddof 1), ``median`` and ``n``, the scans with a value; ``pairs``, ``p``, ``p_corrected``
        and ``significant`` (5%) of the test. `MEAN` has a mean and no more.
    """
    methods = in_order(scans["method"])
    values = scans.pivot(index="scan", columns=["method", "region"], values=list(METRICS))
    table = []
    for method in methods:
        summary = summarise(scans[scans["method"] == method], regions)
        means = mean_over_regions(summary)
        for metric in METRICS:
            for region in regions:
                row = {statistic: summary.loc[region, (metric, statistic)] for statistic in STATISTICS}
                if method != CONEMOS and {(metric, name, region) for name in (method, CONEMOS)} <= set(values.columns):
                    row["p"], row["pairs"] = paired_p(values[metric, CONEMOS, region], values[metric, method, region])
                table.append({"metric": metric, "region": region, "method": method, **row})
            table.append({"metric": metric, "region": MEAN, "method": method, "mean": means[metric]})
    columns = ["metric", "region", "method", *STATISTICS, "pairs", "p"]
    result = pd.DataFrame(table).reindex(columns=columns)
    orders = {"metric": list(METRICS), "region": [*regions, MEAN], "method": methods}
    result = result.sort_values(list(orders), key=lambda column: column.map(orders[column.name].index))
    result = result.reset_index(drop=True)
    comparisons = result.groupby("metric")["p"].transform("count")  # those without a pair are none
    result["p_corrected"] = np.minimum(1.0, result["p"] * comparisons)
    result["significant"] = result["p_corrected"] < LEVEL
    return result.astype({"n": "Int64", "pairs": "Int64"})


def mean_dice_by(rows: pd.DataFrame, column: str, regions: Sequence[str]) -> pd.DataFrame:
    """Mean Dice of each method against ``column``, such as ``fraction`` or ``n_conditioned`` (Figure 4).

    Args:
        rows: rows of `per_scan_rows` of one data set.
        column: what varies.
        regions: the regions in the order wanted.

    Returns:
        one row per method and value: ``method``, ``column``, ``seeds`` (their number), ``dice`` (mean over regions of
        the mean over scans) and ``dice_<region>``. Methods with one value alone are left out.
    """
    table = []
    for method in in_order(rows["method"]):
        groups = list(rows[rows["method"] == method].groupby(column))
        for value, group in groups if len(groups) > 1 else []:
            summary = summarise(average_seeds(group), regions)
            means = {f"dice_{region}": summary.loc[region, ("dice", "mean")] for region in regions}
            seeds, dice = group["seed"].nunique(), mean_over_regions(summary)["dice"]
            table.append({"method": method, column: value, "seeds": seeds, "dice": dice, **means})
    columns = ["method", column, "seeds", "dice", *(f"dice_{region}" for region in regions)]
    return pd.DataFrame(table, columns=columns)
