"""Figure 3: sample segmentations of every method side by side, with their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from conemos_bundle.errors import UserError
from conemos_bundle.evaluation.slices import SLICES, Slice, read_slice
from conemos_bundle.evaluation.tables import best_median_worst
from conemos_bundle.paper.collect import PER_SCAN, EvaluatedRun
from conemos_bundle.paper.methods import CONEMOS, in_order
from conemos_bundle.utils.plain import no_formulas
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from monai.transforms.utils import generate_spatial_bounding_box

FALSE_POSITIVE, FALSE_NEGATIVE = "#E69F00", "#56B4E9"  # Okabe and Ito's orange and sky blue
_REFERENCE = "#009E73"
_SHARE_OF_VIEW = 0.6  # of a view's side, taken by the longest side of the reference
_SMALLEST_VIEW = 30.0  # mm: an eye is shown in its surroundings
_TILE = 1.45  # inches


@dataclass(frozen=True)
class Sample:
    """A region in one scan, as each method segments it."""

    region: str
    scan: str
    slices: Mapping[str, Slice]  # of each method
    dice: Mapping[str, float]  # of the whole scan, not of the slice


def choose_samples(runs: Sequence[EvaluatedRun], rows: pd.DataFrame, regions: Sequence[str]) -> list[Sample]:
    """For each region the scan whose Dice by CoNeMOS is the median, of the runs with each method's lowest seed.

    Args:
        runs: the runs compared, of one data set; those evaluated without ``slices.npz`` are left out.
        rows: their rows (`per_scan_rows`).
        regions: the regions in the order wanted.

    Returns:
        a sample per region; none where CoNeMOS has no slices.

    Raises:
        UserError: slices cannot be read, or methods were evaluated against different references.
    """
    by_seed = sorted((run for run in runs if _file(run).is_file()), key=lambda run: run.seed, reverse=True)
    first = {run.method: run for run in by_seed}
    samples = []
    for region in regions if CONEMOS in first else []:
        of_region = rows[rows["region"] == region]
        picked = dict(best_median_worst(of_region[of_region["run"] == first[CONEMOS].run]))
        if not picked:  # no test scan has this region
            continue
        scan = str(picked.get("median", next(iter(picked.values())))["scan"])  # of two scans, the better
        found = {method: read_slice(_file(first[method]), scan, region) for method in in_order(first)}
        slices = {method: one for method, one in found.items() if one is not None}
        if CONEMOS not in slices:
            continue
        for method, one in slices.items():
            if not np.array_equal(one["reference"], slices[CONEMOS]["reference"]):
                raise UserError(
                    f"{_file(first[method])}: another reference of {region} in {scan} than in "
                    f"{_file(first[CONEMOS])}; evaluate both on the same masks"
                )
        dice = of_region[of_region["scan"] == scan].set_index("run")["dice"]
        samples.append(Sample(region, scan, slices, {method: float(dice[first[method].run]) for method in slices}))
    return samples


@no_formulas
def draw_samples(samples: Sequence[Sample], title: str) -> Figure:
    """Figure 3: a row per region; image, reference, then each method with its errors and its Dice.

    The view is centered on the reference, so that every method's is the same; errors far away from it lie outside.

    Args:
        samples: the samples, at least one.
        title: title of the figure.
    """
    methods = in_order(method for sample in samples for method in sample.slices)
    headings = ["image", "reference", *methods]
    size = (_TILE * len(headings) + 0.3, (_TILE + 0.28) * len(samples) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(samples), len(headings), squeeze=False)
    for row, sample in zip(axes, samples, strict=True):
        anatomy = sample.slices[CONEMOS]
        reference = anatomy["reference"].astype(bool)
        for ax, heading in zip(row, headings, strict=True):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if ax in axes[0]:
                ax.set_title(heading, fontsize=9, fontweight="bold" if heading == CONEMOS else None)
            if heading in methods and heading not in sample.slices:
                ax.text(0.5, 0.5, "no slice", transform=ax.transAxes, ha="center", va="center", fontsize=8)
                continue
            ax.imshow(anatomy["image"], cmap="gray", vmin=0, vmax=255, origin="lower", interpolation="nearest")
            if heading == "reference":
                _paint(ax, reference, _REFERENCE, 0.55)
            elif heading in methods:
                prediction = sample.slices[heading]["prediction"].astype(bool)
                _paint(ax, prediction & ~reference, FALSE_POSITIVE, 0.85)
                _paint(ax, reference & ~prediction, FALSE_NEGATIVE, 0.85)
                ax.contour(reference, levels=[0.5], colors="white", linewidths=0.6)
                ax.set_xlabel(f"Dice {100 * sample.dice[heading]:.1f}", fontsize=8, labelpad=2)
            _look_at(ax, reference, anatomy["spacing"])
        row[0].set_ylabel(sample.region, fontsize=9)
    figure.suptitle(title, fontsize=11)
    handles = [
        Patch(facecolor=color, label=label)
        for color, label in (
            (_REFERENCE, "reference"),
            (FALSE_POSITIVE, "false positive"),
            (FALSE_NEGATIVE, "false negative"),
        )
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _file(run: EvaluatedRun) -> Path:
    return run.folder / PER_SCAN.with_name(SLICES)


def _paint(ax: Axes, mask: np.ndarray, color: str, opacity: float) -> None:
    overlay = np.zeros((*mask.shape, 4))
    overlay[mask] = to_rgba(color, opacity)
    ax.imshow(overlay, origin="lower", interpolation="nearest")


def _look_at(ax: Axes, reference: np.ndarray, spacing: np.ndarray) -> None:
    """Show a square, in mm, around the reference."""
    start, stop = (np.array(corner) for corner in generate_spatial_bounding_box(reference[None]))
    side = max(np.max((stop - start) * spacing) / _SHARE_OF_VIEW, _SMALLEST_VIEW)
    side = min(side, np.max(reference.shape * spacing))  # no wider than the image
    (low_y, low_x), (high_y, high_x) = ((start + stop - 1) / 2 + sign * side / spacing / 2 for sign in (-1, 1))
    ax.set(xlim=(low_x, high_x), ylim=(low_y, high_y), facecolor="black")
    ax.set_aspect(float(spacing[0] / spacing[1]))
