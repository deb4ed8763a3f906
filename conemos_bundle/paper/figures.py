"""Figures of numbers: box plots of the methods (Figure 2), Dice against less data and fewer layers (4), curves."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from conemos_bundle.paper.methods import CONEMOS, Style, styles
from conemos_bundle.utils.plain import no_formulas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

DPI = 110
_BOXED = {"dice": ("Dice (%)", 100), "sd95_voxels": ("SD95 (voxels)", 1)}
_VOXELS = (0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


@no_formulas
def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG of 256 colors, which halves that of noisy scans; the same figure, the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, format="PNG", optimize=True)


@no_formulas
def box_plots(scans: pd.DataFrame, comparison: pd.DataFrame, regions: Sequence[str], title: str) -> Figure:
    """Figure 2: Dice and SD95 over the test scans, one box per region and method.

    Boxes hold the quartiles, whiskers reach to 1.5 times their distance, points are scans beyond. A star above a box
    marks a method that differs from CoNeMOS.

    Args:
        scans: one row per method, scan and region, as `average_seeds` gives them.
        comparison: the table that `compare` gives.
        regions: the regions in the order wanted.
        title: title of the figure.
    """
    drawn = styles(scans["method"])
    figure = Figure(figsize=(max(6.5, 1.2 + 0.28 * len(drawn) * len(regions)), 7.2), layout="constrained")
    axes = figure.subplots(len(_BOXED), 1, sharex=True)
    width = 0.8 / max(len(drawn), 5)
    for ax, (metric, (label, scale)) in zip(axes, _BOXED.items(), strict=True):
        starred = comparison[(comparison["metric"] == metric) & comparison["significant"]]
        stars = set(zip(starred["method"], starred["region"], strict=True))
        for place, (method, style) in enumerate(drawn.items()):
            positions = [i + (place - (len(drawn) - 1) / 2) * width for i in range(len(regions))]
            own = scans[scans["method"] == method]
            values = [(own.loc[own["region"] == region, metric] * scale).dropna().to_numpy() for region in regions]
            _boxes(ax, values, positions, 0.84 * width, style, highlighted=method == CONEMOS)
            for region, position in zip(regions, positions, strict=True):
                if (method, region) in stars:
                    ax.text(position, 1.0, "*", transform=ax.get_xaxis_transform(), ha="center", va="baseline")
        ax.set_ylabel(label)
        ax.grid(axis="y", color="0.9", linewidth=0.8)
        ax.set_axisbelow(True)
        for i in range(1, len(regions)):
            ax.axvline(i - 0.5, color="0.8", linewidth=0.8)
    axes[0].set_ylim(top=min(101.0, axes[0].get_ylim()[1]))
    _logarithmic_above_one(axes[1], scans["sd95_voxels"].max())
    axes[-1].set_xticks(range(len(regions)), list(regions))
    axes[-1].set_xlim(-0.5, len(regions) - 0.5)
    figure.suptitle(title, fontsize=11)
    handles = [Patch(facecolor=style.color, edgecolor="black", label=method) for method, style in drawn.items()]
    _legend(figure, [*handles, Line2D([], [], linestyle="", marker="$*$", color="black", label="differs from CoNeMOS")])
    return figure


@no_formulas
def dice_lines(table: pd.DataFrame, column: str, label: str, title: str, scale: float = 1) -> Figure:
    """Figure 4: mean Dice over regions against ``column``, a line per method.

    Args:
        table: the table that `mean_dice_by` gives.
        column: what varies; its values, times ``scale``, are the ticks.
        label: label of that axis.
        title: title of the figure.
        scale: 100 shows a fraction in percent.
    """
    figure = Figure(figsize=(6.5, 4.6), layout="constrained")
    ax = figure.subplots()
    for method, style in styles(table["method"]).items():
        own = table[table["method"] == method].sort_values(column)
        values = own[column].to_numpy(float) * scale
        ax.plot(values, 100 * own["dice"], marker=style.marker, color=style.color, linewidth=style.width, label=method)
    ax.set(xlabel=label, ylabel="mean Dice over regions (%)")
    ax.set_xticks(sorted(table[column].astype(float).unique() * scale))
    return _finish(figure, ax, title)


@no_formulas
def validation_curves(curves: pd.DataFrame, title: str) -> Figure:
    """Mean validation Dice against the training step, a line per run.

    Args:
        curves: ``method``, ``run``, ``step`` and ``validation_dice``; rows without it are left out.
        title: title of the figure.
    """
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    ax = figure.subplots()
    for method, style in styles(curves["method"]).items():
        label: str | None = method
        for _, own in curves[curves["method"] == method].dropna(subset=["validation_dice"]).groupby("run"):
            ax.plot(own["step"], 100 * own["validation_dice"], color=style.color, linewidth=style.width, label=label)
            label = None  # one entry per method in the legend
    ax.set(xlabel="training step", ylabel="mean validation Dice over regions (%)")
    return _finish(figure, ax, title)


def _boxes(
    ax: Axes, values: list[np.ndarray], positions: list[float], width: float, style: Style, highlighted: bool
) -> None:
    edge = {"color": "black", "linewidth": 1.6 if highlighted else 0.7}
    ax.boxplot(
        values,
        positions=positions,
        widths=width,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": style.color, "edgecolor": "black", "linewidth": edge["linewidth"]},
        medianprops=edge,
        whiskerprops=edge,
        capprops=edge,
        flierprops={"marker": ".", "markersize": 3, "markerfacecolor": style.color, "markeredgecolor": style.color},
    )


def _logarithmic_above_one(ax: Axes, largest: float) -> None:
    """An axis that shows distances of a fraction of a voxel and of a whole image."""
    ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    ax.set_ylim(bottom=-0.1, top=max(2.0, 1.15 * largest) if np.isfinite(largest) else 2.0)
    ax.yaxis.set_major_locator(FixedLocator([tick for tick in _VOXELS if tick < ax.get_ylim()[1]]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def _finish(figure: Figure, ax: Axes, title: str) -> Figure:
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    figure.suptitle(title, fontsize=11)
    _legend(figure, ax.get_legend_handles_labels()[0])
    return figure


def _legend(figure: Figure, handles: list[Any]) -> None:
    columns = min(len(handles), max(2, int(figure.get_figwidth() / 1.9)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
