"""The plot of a benchmark: time of inference against the number of regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from conemos_bundle.paper.bench.groups import Result
from conemos_bundle.paper.bench.networks import METHODS, PEERS
from conemos_bundle.paper.methods import styles
from conemos_bundle.utils.plain import no_formulas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator


def region_results(results: Sequence[Result]) -> list[Result]:
    """The results that the plot shows."""
    return [result for result in results if result.group.part == "inference" and result.group.regions is not None]


@no_formulas
def time_of_regions(results: Sequence[Result]) -> Figure:
    """Medians with their quartiles against the number of regions, a panel per dtype, a line per method."""
    shown = region_results(results)
    dtypes = list(dict.fromkeys(result.group.dtype for result in shown))
    figure = Figure(figsize=(2.8 + 4.2 * len(dtypes), 4.5), layout="constrained")
    panels = figure.subplots(1, len(dtypes), squeeze=False, sharey=True)[0]
    for axes, dtype in zip(panels, dtypes, strict=True):
        _panel(axes, [result for result in shown if result.group.dtype == dtype])
        axes.set_title(dtype, fontsize=11)
    panels[0].set_ylabel("time of inference (s)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    return figure


def _panel(axes: Axes, results: Sequence[Result]) -> None:
    own = styles(METHODS)
    for name in [*METHODS, *PEERS]:
        with_it = [result for result in results if name in result.values]
        if not with_it:
            continue
        low, middle, high = np.quantile([result.values[name] for result in with_it], (0.25, 0.5, 0.75), axis=1)
        style = own.get(name)
        look = (
            {"color": style.color, "marker": style.marker, "linewidth": style.width}
            if style
            else {"color": "black", "linestyle": "--" if name == PEERS[0] else ":"}
        )
        regions = [result.group.regions or 0 for result in with_it]
        axes.errorbar(regions, middle, (middle - low, high - middle), label=name, markersize=4, **look)
    axes.set_xscale("log")
    axes.set_yscale("log")
    counts = sorted({result.group.regions or 0 for result in results})
    axes.set_xticks(counts, list(map(str, counts)), minor=False)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.minorticks_off()
    axes.set_xlabel("regions")
    axes.grid(color="0.9", linewidth=0.8)
