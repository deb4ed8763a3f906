"""The sections of a report: each writes its tables (CSV) and figures (PNG) and returns its parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from conemos_bundle.files import write_in_one_step
from conemos_bundle.paper import provenance, statistics, tables
from conemos_bundle.paper.claims import claims_table
from conemos_bundle.paper.collect import EvaluatedRun, curve
from conemos_bundle.paper.figures import box_plots, dice_lines, save, validation_curves
from conemos_bundle.paper.methods import PSEUDO_LABELLING
from conemos_bundle.paper.parts import Files, Picture, Section
from conemos_bundle.paper.samples import Sample, draw_samples
from conemos_bundle.utils.plain import cells
from matplotlib.figure import Figure

INFERENCE = "inference.csv"


def claims_section(folder: Path, claims: pd.DataFrame) -> Section:
    """What of the paper's claims is reproduced."""
    return Section(
        "Claims",
        [
            "Against those of the paper's six methods that were run; where the others could turn the answer, there is "
            "none. Dice in percent; p corrected (see below); the last column looks at the measured value alone, "
            "whatever its p.",
            claims_table(claims),
            _csv(folder, {"claims.csv": claims}),
        ],
    )


def comparison_section(
    folder: Path, under: str, scans: pd.DataFrame, comparison: pd.DataFrame, regions: Sequence[str]
) -> Section:
    """Appendix B's tables and Figure 2."""
    tests = int(comparison.loc[comparison["metric"] == "dice", "p"].count())
    return Section(
        "Comparison of methods (Appendix B, Figure 2)",
        [
            "Mean ± standard deviation over test scans, a scan's value being its mean over seeds. Bold: the best mean. "
            f"*: differs from CoNeMOS (two-sided Wilcoxon signed-rank test, paired by scan, {statistics.LEVEL:.0%} "
            f"after Bonferroni's correction for {tests} comparisons). With few scans no difference can pass: of n "
            "pairs p is at least 2 / 2ⁿ before the correction.",
            f"Dice (%), {under}:",
            tables.appendix_b(comparison, "dice"),
            f"SD95 (voxels), {under}:",
            tables.appendix_b(comparison, "sd95_voxels"),
            _figure(folder, "methods.png", box_plots(scans, comparison, regions, under), f"Methods compared, {under}"),
            "Boxes: quartiles over test scans; whiskers: to 1.5 times their distance; points: scans beyond. SD95 is "
            "drawn linear up to 1 voxel, then logarithmic.",
            _csv(folder, {"comparison.csv": comparison, "per_scan_mean_over_seeds.csv": scans}),
        ],
    )


def samples_section(folder: Path, under: str, samples: Sequence[Sample]) -> Section | None:
    """Figure 3; nothing without samples."""
    if not samples:
        return None
    dice = [
        {"region": sample.region, "scan": sample.scan, "method": method, "dice": value}
        for sample in samples
        for method, value in sample.dice.items()
    ]
    scans = "; ".join(f"{sample.region}: {sample.scan}" for sample in samples)
    return Section(
        "Sample segmentations (Figure 3)",
        [
            _figure(folder, "samples.png", draw_samples(samples, under), f"Sample segmentations, {under}"),
            f"For each region the test scan whose Dice by CoNeMOS is the median ({scans}), by each method's "
            "run of the lowest seed, in the slice where the reference is largest. White: outline of the reference. "
            "Dice (%) is that of the whole scan; errors far from the reference lie outside the view.",
            _csv(folder, {"samples.csv": pd.DataFrame(dice)}),
        ],
    )


def fraction_section(folder: Path, under: str, by_fraction: pd.DataFrame) -> Section | None:
    """Figure 4A; nothing where no method was trained on several fractions."""
    if by_fraction.empty:
        return None
    figure = dice_lines(by_fraction, "fraction", "fraction of the training scans (%)", under, scale=100)
    return Section(
        "Fewer training scans (Figure 4A)",
        [
            _figure(folder, "fraction.png", figure, f"Mean Dice against the fraction of the training scans, {under}"),
            _csv(folder, {"fraction.csv": by_fraction}),
        ],
    )


def layers_section(folder: Path, under: str, by_layers: pd.DataFrame) -> Section | None:
    """Figure 4B; nothing where CoNeMOS was trained with one number of conditioned convolutions alone."""
    if by_layers.empty:
        return None
    figure = dice_lines(by_layers, "n_conditioned", "conditioned convolutions N (the last ones)", under)
    return Section(
        "Fewer conditioned convolutions (Figure 4B)",
        [
            _figure(folder, "layers.png", figure, f"Mean Dice against the conditioned convolutions, {under}"),
            _csv(folder, {"layers.csv": by_layers}),
        ],
    )


def curves_section(folder: Path, under: str, runs: Sequence[EvaluatedRun]) -> Section | None:
    """Validation Dice against the step; nothing where no run validated."""
    curves = pd.concat(
        [
            curve(run).assign(method=run.method, run=run.run, seed=run.seed).dropna(subset="validation_dice")
            for run in runs
        ]
    )
    if curves.empty:
        return None
    return Section(
        "Validation",
        [
            _figure(folder, "validation.png", validation_curves(curves, under), f"Validation Dice, {under}"),
            "A line per run. Where lines still climb at the end, more steps would tell more.",
            _csv(folder, {"validation.csv": curves}),
        ],
    )


def cost_section(folder: Path, runs: Sequence[EvaluatedRun], inference: pd.DataFrame | None) -> Section:
    """Table 2."""
    cost = tables.cost(runs, inference)
    labels = any(run.method == PSEUDO_LABELLING for run in runs)
    measured = "Inference: not measured; add --measure."
    files = _csv(folder, {"cost.csv": cost})
    if inference is not None:
        first = inference.iloc[0]
        measured = (
            f"Inference: median of {first['rounds']} rounds that took the methods in turn, a patch of "
            f"{first['size']} voxels, {first['machine']}, torch {first['torch']}; weights are random."
        )
        files = Files([*files.names, INFERENCE])
    return Section(
        "Parameters and time (Table 2)",
        [
            tables.cost_table(cost),
            "Training: hours in training steps, loading included and validation not, mean over seeds."
            + (" Pseudo-labelling: without the networks that made its labels." if labels else ""),
            measured,
            files,
        ],
    )


def runs_section(folder: Path, runs: Sequence[EvaluatedRun], rows: pd.DataFrame) -> Section:
    """Every run of the data set."""
    files = {"runs.csv": provenance.list_runs(runs), "per_scan.csv": rows}
    return Section("Runs", [provenance.runs_table(runs), _csv(folder, files)])


def _figure(folder: Path, name: str, figure: Figure, caption: str) -> Picture:
    write_in_one_step(folder / name, partial(save, figure))
    return Picture(name, caption)


def _csv(folder: Path, files: dict[str, pd.DataFrame]) -> Files:
    """Write the tables; six significant digits are the same on every machine."""
    for name, table in files.items():
        write_in_one_step(folder / name, partial(cells(table).to_csv, index=False, float_format="%.6g"))
    return Files(list(files))
