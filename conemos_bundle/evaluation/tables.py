"""Tables of an evaluation: from one row per scan and region to a summary of each region.

The rows are a pandas DataFrame with `ROW_COLUMNS`; a metric without a value is NaN, and left out of every statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from conemos_bundle.errors import UserError
from conemos_bundle.names import RegionName
from conemos_bundle.utils.plain import from_cell
from conemos_bundle.utils.records import Amount, PathText, Share, Strict, read_as, read_table
from conemos_bundle.volumes.fingerprints import weights_hash
from pydantic import AfterValidator, ConfigDict, Field

SUMMARY = "summary.json"
METRICS = {"dice": "Dice", "sd95_mm": "SD95 (mm)", "sd95_voxels": "SD95 (voxels)"}
STATISTICS = ("mean", "standard_deviation", "median", "n")
ROW_COLUMNS = ("scan", "subject", "region", *METRICS, "reference_ml", "predicted_ml", "false_positive_ml")

_DECIMALS = {"dice": 3, "sd95_mm": 2, "sd95_voxels": 2}
_NO_VALUE = "n/a"


class EvaluatedRegion(Strict):
    """A row of ``per_scan.csv``: a scan and region that is annotated or absent."""

    model_config = ConfigDict(extra="ignore", strict=True)

    scan: Annotated[PathText, AfterValidator(from_cell)]
    subject: Annotated[str, Field(max_length=256), AfterValidator(from_cell)]
    region: RegionName
    dice: Share
    sd95_mm: Amount
    sd95_voxels: Amount
    reference_ml: Amount
    predicted_ml: Amount
    false_positive_ml: Amount = None  # earlier evaluations lack it


class _Statistics(Strict):
    model_config = ConfigDict(extra="ignore", strict=True)

    mean: Share


class _Region(Strict):
    model_config = ConfigDict(extra="ignore", strict=True)

    dice: _Statistics


class Summary(Strict):
    """``summary.json``, as far as it is read."""

    model_config = ConfigDict(extra="ignore", strict=True)

    regions: dict[RegionName, _Region]
    failed: dict[str, str] = Field(default_factory=dict)
    model: str = ""  # what the weights were known by


def read_summary(folder: Path, weights: Path | None = None) -> Summary:
    """The summary in an evaluation's folder; an empty one where there is none.

    Args:
        folder: of the evaluation.
        weights: those that it shall be of, where they are there.

    Raises:
        UserError: it cannot be read, is no summary, or is one of other weights.
    """
    file = folder / SUMMARY
    summary = read_as(Summary, file) if file.exists() else Summary(regions={})
    if weights is not None and weights.is_file() and summary.model and summary.model != weights_hash(weights):
        raise UserError(f"{file}: of other weights than {weights}; evaluate again, or remove {folder}")
    return summary


def read_rows(path: Path, regions: Sequence[str] | None = None) -> pd.DataFrame:
    """``per_scan.csv``: one row per scan and annotated region, with `ROW_COLUMNS`.

    Args:
        path: the file.
        regions: those of the model that was evaluated.

    Raises:
        UserError: it cannot be read, or has a scan and region twice, or a region that the model has not.
    """
    rows = pd.DataFrame([row.model_dump() for row in read_table(EvaluatedRegion, path)], columns=list(ROW_COLUMNS))
    unknown = sorted(set(rows["region"]) - set(rows["region"] if regions is None else regions))
    if unknown or rows.duplicated(["scan", "region"]).any():
        wrong = f"the region {unknown[0]!r}, which the model has not" if unknown else "a scan and region twice"
        raise UserError(f"{path}: has {wrong}; evaluate the run again")
    numbers = [column for column in ROW_COLUMNS if column not in ("scan", "subject", "region")]
    return rows.astype(dict.fromkeys(numbers, float))


def summarise(rows: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """Statistics of each region and metric.

    Args:
        rows: one row per scan and annotated region, with `ROW_COLUMNS`.
        regions: the regions in the order wanted.

    Returns:
        one row per region, with columns (metric, statistic), the statistics ``mean``, ``standard_deviation`` (ddof 1),
        ``median`` and ``n``, the number of scans that have a value. Statistics without enough scans are NaN.
    """
    groups = rows.astype(dict.fromkeys(METRICS, float)).groupby("region")[list(METRICS)]
    table = groups.agg(["mean", "std", "median", "count"]).reindex(list(regions))
    table.columns = pd.MultiIndex.from_product([METRICS, STATISTICS])
    counts = pd.IndexSlice[:, "n"]
    table.loc[:, counts] = table.loc[:, counts].fillna(0)
    return table


def false_positives(rows: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """What was predicted where a region is absent.

    Args:
        rows: one row per scan and region, with `ROW_COLUMNS`; ``false_positive_ml`` is NaN where the region is there.
        regions: the regions in the order wanted.

    Returns:
        one row per region that is absent in some scan: ``mean_ml``, ``scans_with_any`` and ``n``, the number of scans.
    """
    volumes = rows.astype({"false_positive_ml": float}).dropna(subset=["false_positive_ml"])
    table = volumes.groupby("region")["false_positive_ml"].agg(
        mean_ml="mean", scans_with_any=lambda volume: int((volume > 0).sum()), n="count"
    )
    return table.reindex([region for region in regions if region in table.index])


def mean_over_regions(summary: pd.DataFrame) -> pd.Series:
    """The mean of each metric over the regions' means; regions without any value are left out."""
    return summary.xs("mean", axis="columns", level=1).mean()


def to_dict(summary: pd.DataFrame, absent: pd.DataFrame | None = None) -> dict[str, Any]:
    """`summarise`'s table for JSON; a statistic without a value is None, since JSON has no NaN.

    Args:
        summary: that table.
        absent: the table of `false_positives`.

    Returns:
        ``{"regions": {region: {metric: {statistic: value}}}, "mean_over_regions": {metric: value}}``; a region that is
        absent in some scan has ``"false_positives": {"mean_ml", "scans_with_any", "n"}`` too.
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
    for region, row in (pd.DataFrame() if absent is None else absent).iterrows():
        counts = {name: int(row[name]) for name in ("scans_with_any", "n")}
        regions[region]["false_positives"] = {"mean_ml": float(row["mean_ml"]), **counts}
    return {
        "regions": regions,
        "mean_over_regions": {metric: _number(value) for metric, value in mean_over_regions(summary).items()},
    }


def to_markdown(summary: pd.DataFrame, absent: pd.DataFrame | None = None) -> str:
    """`summarise`'s table in Markdown: mean ± standard deviation, median and number of scans per region and metric.

    Below it stands that of `false_positives`, where it has any row.
    """
    header = ["Region"]
    for name in METRICS.values():
        header += [f"{name}, mean ± SD", "median", "n"]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for region, row in summary.iterrows():
        cells = [str(region)]
        for metric in METRICS:
            mean, deviation, median = (statistic_text(row[metric, statistic], metric) for statistic in STATISTICS[:3])
            cells += [mean if deviation == _NO_VALUE else f"{mean} ± {deviation}", median, str(int(row[metric, "n"]))]
        lines.append(cells)
    means = mean_over_regions(summary)
    last = ["**mean over regions**"]
    for metric in METRICS:
        last += [statistic_text(means[metric], metric), "", ""]
    return _table([*lines, last]) + ("" if absent is None or absent.empty else "\n" + _false_positives(absent))


def _false_positives(absent: pd.DataFrame) -> str:
    lines = [["Where absent", "Predicted (ml), mean", "scans with any", "n"], ["---", "---:", "---:", "---:"]]
    for region, row in absent.iterrows():
        lines.append([str(region), f"{row['mean_ml']:.3f}", str(int(row["scans_with_any"])), str(int(row["n"]))])
    return _table(lines)


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def not_found(rows: pd.DataFrame) -> str:
    """A line on the regions of which nothing was found in some scans where they are; empty if there are none.

    Args:
        rows: one row per scan and region, with `ROW_COLUMNS`.

    Example::

        >>> from conemos_bundle.evaluation.tables import not_found
        >>> rows = {"region": ["eyes"] * 3, "reference_ml": [2.0, 1.0, 3.0], "predicted_ml": [0.0, 0.0, 1.5]}
        >>> not_found(pd.DataFrame(rows))
        'Nothing found: eyes in 2 of 3 scans. SD95 is then the longest side of the scan.'
    """
    there = rows[rows["reference_ml"] > 0]
    missed = (there["predicted_ml"] == 0).groupby(there["region"], sort=False).agg(["sum", "count"])
    missed = missed[missed["sum"] > 0]
    told = [
        f"{region} in {row['sum']} of {row['count']} scan{'s' * (row['count'] > 1)}"
        for region, row in missed.iterrows()
    ]
    return f"Nothing found: {', '.join(told)}. SD95 is then the longest side of the scan." if told else ""


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


def statistic_text(value: float, metric: str) -> str:
    """A statistic of one of `METRICS` as tables show it; ``n/a`` where there is none."""
    return _NO_VALUE if pd.isna(value) else f"{value:.{_DECIMALS[metric]}f}"
