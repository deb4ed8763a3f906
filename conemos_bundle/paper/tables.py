"""The tables of the report: Appendix B's and Table 2's."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from conemos_bundle.paper.collect import EvaluatedRun, curve
from conemos_bundle.paper.methods import in_order
from conemos_bundle.paper.parts import Cell, Table

NO_VALUE = "n/a"
DECIMALS = {"dice": 1, "sd95_mm": 2, "sd95_voxels": 2}
SCALES = {"dice": 100, "sd95_mm": 1, "sd95_voxels": 1}  # Dice in percent, as in the paper


def number(value: float, decimals: int) -> str:
    """The number as a text, or `NO_VALUE` where there is none."""
    return NO_VALUE if pd.isna(value) else f"{value:.{decimals}f}"


def appendix_b(comparison: pd.DataFrame, metric: str) -> Table:
    """Appendix B's table of a metric: a row per method, a column per region, mean ± standard deviation.

    The best mean of a column is bold, and so are those that print the same. A star marks what differs from CoNeMOS.

    Args:
        comparison: the table that `compare` gives.
        metric: ``dice`` (in percent), ``sd95_voxels`` or ``sd95_mm``.
    """
    rows = comparison[comparison["metric"] == metric]
    regions = list(dict.fromkeys(rows["region"]))
    scale, decimals = SCALES[metric], DECIMALS[metric]
    means = rows.groupby("region")["mean"]
    best = (means.max() if metric == "dice" else means.min()) * scale
    cells: dict[str, list[Cell]] = {}
    for _, row in rows.iterrows():
        text = number(row["mean"] * scale, decimals)
        deviation = number(row["standard_deviation"] * scale, decimals)
        is_best = text != NO_VALUE and text == number(best[row["region"]], decimals)
        text += "" if deviation == NO_VALUE else f" ± {deviation}"
        cells.setdefault(row["method"], []).append(Cell(text, is_best, bool(row["significant"])))
    return Table(["Method", *regions], [[method, *line] for method, line in cells.items()])


def cost(runs: Sequence[EvaluatedRun], inference: pd.DataFrame | None = None) -> pd.DataFrame:
    """Table 2: parameters, hours of training and time of inference a method.

    Args:
        runs: the runs compared, of one data set.
        inference: the table that `measure` gives, where there is one.

    Returns:
        one row per method: ``method``, ``parameters``, ``training_hours`` (mean over its runs), ``milliseconds`` and
        ``ratio`` of the inference of all regions, NaN where unknown.
    """
    table = []
    for method in in_order(run.method for run in runs):
        own = [run for run in runs if run.method == method]
        hours = pd.Series([curve(run)["seconds"].max() / 3600 for run in own], dtype=float).mean()
        table.append(
            {"method": method, "parameters": own[0].record.parameters or float("nan"), "training_hours": hours}
        )
    result = pd.DataFrame(table)
    columns = ["method", "milliseconds", "ratio"]
    times = pd.DataFrame(columns=columns) if inference is None else inference[columns]
    return result.merge(times, on="method", how="left").astype({"milliseconds": float, "ratio": float})


def cost_table(table: pd.DataFrame) -> Table:
    """`cost`'s table, to be shown."""
    header = ["Method", "Parameters (million)", "Training (hours)", "Inference of all regions (ms)", "ratio to CoNeMOS"]
    return Table(
        header,
        [
            [
                row["method"],
                number(row["parameters"] / 1e6, 2),
                number(row["training_hours"], 2),
                number(row["milliseconds"], 1),
                number(row["ratio"], 2),
            ]
            for _, row in table.iterrows()
        ],
    )
