"""The report of `conemos evaluate`: tables, distributions, pictures and the run's settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from conemos_bundle.evaluation.tables import (
    METRICS,
    SUMMARY,
    false_positives,
    mean_over_regions,
    read_rows,
    read_summary,
    statistic_text,
    summarise,
)
from conemos_bundle.reports.distribution import distribution
from conemos_bundle.reports.page import MOST_ROWS, REPORT, write_page
from conemos_bundle.reports.pictures import embed
from conemos_bundle.runs.record import RECORD, Run, read_run
from conemos_bundle.volumes.fingerprints import weights_hash

_SHOWN = ("dice", "sd95_mm")


def write_evaluation_report(folder: str | Path, weights: str | Path, split: str) -> Path | None:
    """Write ``report.html`` into the folder of an evaluation, from its files and the run's record.

    Args:
        folder: where `EvaluationReport` wrote ``per_scan.csv``, ``summary.json`` and the pictures.
        weights: those that were evaluated; ``run.json`` lies beside them.
        split: that was evaluated.

    Returns:
        its path; None where the folder holds no whole evaluation of these weights.

    Raises:
        UserError: a file cannot be read.
        OutputError: the report cannot be written.
    """
    folder, weights = Path(folder), Path(weights)
    if not ((folder / "per_scan.csv").is_file() and (folder / SUMMARY).is_file()):
        return None
    record = read_run(weights.with_name(RECORD))
    summary = read_summary(folder)
    if summary.model not in ("", weights_hash(weights)):
        return None
    rows = read_rows(folder / "per_scan.csv")
    # of a run that knows more regions than the datalist, those that were evaluated
    regions = [region for region in record.regions if region in summary.regions]
    table = summarise(rows, regions)
    means = mean_over_regions(table)
    files = {region: folder / f"montage_{region}.png" for region in regions}
    files = {region: file for region, file in files.items() if file.is_file()}
    pictures = embed(files)
    return write_page(
        folder / REPORT,
        "evaluated",
        name=record.data.name or weights.parent.name,
        split=split,
        n_scans=rows["scan"].nunique(),
        n_subjects=rows["subject"].nunique(),
        metrics={metric: METRICS[metric] for metric in _SHOWN},
        means={metric: statistic_text(means[metric], metric) for metric in _SHOWN},
        table=_table(table),
        absent=[
            (region, f"{row['mean_ml']:.3f}", int(row["scans_with_any"]), int(row["n"]))
            for region, row in false_positives(rows, regions).iterrows()
        ],
        distributions={
            METRICS[metric]: distribution(rows, metric, regions, 1.0 if metric == "dice" else None) for metric in _SHOWN
        },
        pictures=pictures,
        left_out=[region for region in files if region not in pictures],
        failed=summary.failed,
        settings=run_settings(record),
        rows=_rows(rows),
        n_rows=len(rows),
    )


def run_settings(record: Run) -> dict[str, str]:
    """What a run's record says of how it was made, by the words to show."""
    told: dict[str, Any] = {
        "data set": record.data.name,
        "modality": record.data.modality,
        "network": record.network.target.rpartition(".")[2],
        "channels": record.network.channels,
        "parameters": record.parameters,
        "spacing (mm)": record.plan.spacing,
        "patch size (voxels)": record.plan.patch_size,
        "inside": record.inside,
        **record.settings,
        "machine": record.machine,
        **{name: record.versions[name] for name in ("monai", "torch") if name in record.versions},
    }
    return {name.replace("_", " "): _words(value) for name, value in told.items() if value not in (None, "", {}, [])}


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} in {each}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return (
            " × ".join(map(_words, value))
            if all(isinstance(v, int | float) for v in value)
            else ", ".join(map(_words, value))
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(summary: pd.DataFrame) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """For each region and metric: mean ± standard deviation, median, number of scans."""
    lines = []
    for region, row in summary.iterrows():
        cells = []
        for metric in _SHOWN:
            mean, deviation, median = (
                statistic_text(row[metric, name], metric) for name in ("mean", "standard_deviation", "median")
            )
            spread = "" if math.isnan(row[metric, "standard_deviation"]) else f" ± {deviation}"
            cells.append((mean + spread, median, int(row[metric, "n"])))
        lines.append((str(region), cells))
    return lines


def _rows(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """The rows of ``per_scan.csv``, the worst by Dice first."""
    ranked = rows.sort_values(["dice", "scan"], na_position="last").head(MOST_ROWS)
    return [
        (
            row["scan"],
            row["region"],
            statistic_text(row["dice"], "dice"),
            statistic_text(row["sd95_mm"], "sd95_mm"),
            f"{row['reference_ml']:.3f}",
            f"{row['predicted_ml']:.3f}",
        )
        for _, row in ranked.iterrows()
    ]
