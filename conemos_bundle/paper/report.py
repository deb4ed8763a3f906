"""The report on a data set: every table and figure of the paper's experiments, in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step
from conemos_bundle.paper import sections
from conemos_bundle.paper.claims import claims, judged_claims
from conemos_bundle.paper.collect import EvaluatedRun, convolutions, per_scan_rows
from conemos_bundle.paper.methods import CONEMOS
from conemos_bundle.paper.page import write_comparison_page
from conemos_bundle.paper.parts import Section, section_markdown
from conemos_bundle.paper.provenance import provenance, seeds
from conemos_bundle.paper.samples import choose_samples
from conemos_bundle.paper.statistics import average_seeds, compare, mean_dice_by
from conemos_bundle.paper.timing import Timing
from conemos_bundle.utils.plain import markdown_text
from conemos_bundle.utils.records import read_table

REPORT = "report.md"


def write_report(runs: Sequence[EvaluatedRun], folder: Path) -> Path:
    """Write ``report.md`` and ``report.html`` with their figures (PNG) and the tables (CSV) behind tables and figures.

    The time of inference is read from ``inference.csv`` in ``folder``, where there is one; nothing is measured.

    Args:
        runs: the runs of one data set; CoNeMOS on all training scans is among them.
        folder: an existing folder.

    Returns:
        the path of ``report.md``; ``report.html`` beside it is one file, which holds its figures.

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
    head = provenance(runs, rows, regions)
    own = next(run for run in runs if run.method == CONEMOS)
    judged = claims(comparison, by_fraction, by_layers, convolutions(own.record.network))
    every = [
        sections.claims_section(folder, judged),
        sections.comparison_section(folder, under, scans, comparison, regions),
        sections.samples_section(folder, under, samples),
        sections.fraction_section(folder, varied, by_fraction),
        sections.layers_section(folder, varied, by_layers),
        sections.curves_section(folder, under, standard),
        sections.cost_section(folder, standard, inference),
        sections.runs_section(folder, runs, rows),
    ]
    written = [section for section in every if section is not None]
    tiles = {
        "methods compared": str(len({run.method for run in standard})),
        "runs": str(len(runs)),
        "test scans": str(rows["scan"].nunique()),
        "claims of the paper reproduced, of those judged": judged_claims(judged),
    }
    _write_markdown(folder / REPORT, runs[0].dataset, head, written)
    write_comparison_page(folder, runs[0].dataset, tiles, head, written)
    return folder / REPORT


def _write_markdown(file: Path, dataset: str, head: Mapping[str, str], written: Sequence[Section]) -> None:
    text = [
        f"# The paper's experiments on {markdown_text(dataset)}",
        "\n".join(f"- {name}: {markdown_text(text)}" for name, text in head.items()),
        *(block for section in written for block in section_markdown(section)),
    ]
    content = "\n\n".join(text) + "\n"
    write_in_one_step(file, lambda part: part.write_text(content, encoding="utf-8"))


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
