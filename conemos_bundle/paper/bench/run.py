"""Running a benchmark, and writing what it measures as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from conemos_bundle.files import one_writer, write_in_one_step
from conemos_bundle.paper.bench.augmentation import augmentation_groups
from conemos_bundle.paper.bench.groups import Group, Result, measure
from conemos_bundle.paper.bench.growth import growth_groups
from conemos_bundle.paper.bench.inference import inference_groups
from conemos_bundle.paper.bench.machine import machine_line, product_rates
from conemos_bundle.paper.bench.memory import memory_results
from conemos_bundle.paper.bench.plot import region_results, time_of_regions
from conemos_bundle.paper.bench.setup import PARTS, Setup
from conemos_bundle.paper.bench.startup import startup_groups
from conemos_bundle.paper.bench.steps import step_groups
from conemos_bundle.paper.bench.tables import measurements, result_table
from conemos_bundle.paper.figures import save
from conemos_bundle.utils.memory import keep_freed_memory

TABLES, MEASUREMENTS, PLOT = "bench.md", "bench.csv", "bench.png"
_TIMED: Mapping[str, Callable[[Setup], Iterator[Group]]] = {
    "step": step_groups,
    "inference": inference_groups,
    "startup": startup_groups,
    "growth": growth_groups,
    "augmentation": augmentation_groups,
}
_TITLES = {
    "step": "Training step",
    "inference": "Inference",
    "memory": "Peak memory",
    "startup": "Start-up",
    "growth": "Growth",
    "augmentation": "Augmentation",
}
_HOW = {
    "step": "One random batch in memory: forward, loss, backward, Adam's update. One mask per scan where nothing else "
    "is said. The plain UNet, concatenating, has the usual decoder, which up-samples and concatenates; the plain UNet "
    "is the same network as the package computes it. MONAI's BasicUNet has five levels whatever --channels says.",
    "inference": "One image at once; the methods have K outputs or regions and are asked for all of them. The peers "
    "are one pass of a network with K outputs.",
    "memory": "Each in a process of its own: above what imports take, or, on a GPU, what PyTorch allocates.",
    "startup": "Processes, from their start to their end.",
    "growth": "Ratios are to the first row.",
    "augmentation": "One process; an image and a mask.",
}


def run_bench(output: Path, setup: Setup, parts: Sequence[str] = PARTS) -> list[Result]:
    """Measure, and write ``bench.md``, ``bench.csv`` and ``bench.png`` after each group.

    Args:
        output: their folder.
        setup: sizes.
        parts: some of `PARTS`.

    Raises:
        UserError: the folder cannot be written to, or another process is writing there.
    """
    results: list[Result] = []
    keep_freed_memory(setup.device)  # as `conemos train` and `predict` do
    with one_writer(output):
        rates = product_rates(setup)
        for part in parts:
            rates = {dtype: max(rate, rates[dtype]) for dtype, rate in product_rates(setup).items()}
            for result in _results(part, setup):
                results.append(result)
                _write(output, setup, rates, results)
                print(f"measured: {result.group.title}", flush=True)
    return results


def _results(part: str, setup: Setup) -> Iterator[Result]:
    if part == "memory":
        yield from memory_results(setup)
    else:
        for group in _TIMED[part](setup):
            yield measure(group, setup.rounds, setup.most_seconds)


def _write(output: Path, setup: Setup, rates: Mapping[str, float], results: Sequence[Result]) -> None:
    shown = bool(region_results(results))
    if shown:
        write_in_one_step(output / PLOT, partial(save, time_of_regions(results)))
    write_in_one_step(output / MEASUREMENTS, partial(measurements(results).to_csv, index=False))
    text = report(setup, rates, results, PLOT if shown else None)
    write_in_one_step(output / TABLES, partial(Path.write_text, data=text, encoding="utf-8"))


def report(setup: Setup, rates: Mapping[str, float], results: Sequence[Result], plot: str | None) -> str:
    """The tables of all results in Markdown, with what they were made of."""
    sizes = f"Images of {setup.size}³ voxels, features {', '.join(map(str, setup.channels))}"
    lines = [
        "# conemos bench\n",
        f"{machine_line(setup, rates)}\n",
        f"{sizes}. Medians of {setup.rounds} rounds, each of which makes every call of a table once, beginning with "
        "another each time; a first call is not counted. `/ X`: the median over rounds of the time divided by X's in "
        "the same round. Share: multiplications of convolutions and matrix products per second, of those in a product "
        f"of matrices. Every measurement: {MEASUREMENTS}.\n",
    ]
    if setup.quick:
        lines.append("Quick: sizes too small for comparisons.\n")
    for part in dict.fromkeys(result.group.part for result in results):
        lines.append(f"## {_TITLES[part]}\n\n{_HOW[part]}\n")
        if part == "inference" and plot:
            lines.append(f"![time of inference against the number of regions]({plot})\n")
        lines += [result_table(result, rates) for result in results if result.group.part == part]
    return "\n".join(lines)
