"""The report on a data set: every table and figure of the paper's experiments, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step
from conemos_bundle.paper import sections
from conemos_bundle.paper.claims import claims
from conemos_bundle.paper.collect import EvaluatedRun, per_scan_rows
from conemos_bundle.paper.methods import CONEMOS
from conemos_bundle.paper.provenance import provenance, seeds
from conemos_bundle.paper.samples import choose_samples
from conemos_bundle.paper.statistics import average_seeds, compare, mean_dice_by
from conemos_bundle.paper.timing import Timing
from conemos_bundle.utils.plain import markdown_text
from conemos_bundle.utils.records import read_table

REPORT = "report.md"


def write_report(runs: Sequence[EvaluatedRun], folder: Path) -> Path:
    """Write ``report.md`` with its figures (PNG) and the tables (CSV) behind tables and figures.

    The time of inference is read from ``inference.csv`` in ``folder``, where there is one; nothing is measured.

    Args:
        runs: the runs of one data set; CoNeMOS on all training scans is among them.
        folder: an existing folder.

    Returns:
        the path of ``report.md``.

    Raises:
        UserError: a file of a run or ``inference.csv`` cannot be read.
    """
    regions = list(runs[0].record.regions)
    rows = per_scan_rows(runs)
    standard = [run for run in runs if run.is_standard]
    whole, full = rows["fraction"] == 1, rows["usual_layers"]
    scans = average_seeds(rows[whole & full])
    comparison = compare(scans, regions)
    by_fraction = mean_dice_by(rows[full], "fraction", regions)
    by_layers = mean_dice_by(rows[whole & (rows["method"] == CONEMOS)], "n_conditioned", regions)
    inference = read_inference(folder / sections.INFERENCE)
    samples = choose_samples(standard, rows, regions)

    under = f"{runs[0].dataset}: {rows['scan'].nunique()} test scans, {runs[0].budget}, {seeds(standard)}"
    varied = f"{runs[0].dataset}: {rows['scan'].nunique()} test scans, {runs[0].budget}"
    text = [
        f"# The paper's experiments on {markdown_text(runs[0].dataset)}",
        provenance(runs, rows, regions),
        *sections.claims_section(folder, claims(comparison, by_fraction, by_layers)),
        *sections.comparison_section(folder, under, scans, comparison, regions),
        *sections.samples_section(folder, under, samples),
        *sections.fraction_section(folder, varied, by_fraction),
        *sections.layers_section(folder, varied, by_layers),
        *sections.curves_section(folder, under, standard),
        *sections.cost_section(folder, standard, inference),
        *sections.runs_section(folder, runs, rows),
    ]
    content = "\n\n".join(part.strip() for part in text) + "\n"
    write_in_one_step(folder / REPORT, lambda part: part.write_text(content, encoding="utf-8"))
    return folder / REPORT


def read_inference(path: Path) -> pd.DataFrame | None:
    """The table that `measure` gave, or None where there is no such file.

    Raises:
        UserError: the file cannot be read as that table.
    """
    if not path.exists():
        return None
    rows = read_table(Timing, path, "; measure again with --measure")
    if not rows:
        raise UserError(f"{path}: has no row; measure again with --measure")
    return pd.DataFrame([row.model_dump() for row in rows])
