"""Peak memory of training steps and of inference, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

import torch
from conemos_bundle.paper.bench.groups import Group, Result
from conemos_bundle.paper.bench.inference import inference_groups
from conemos_bundle.paper.bench.setup import Setup
from conemos_bundle.paper.bench.steps import step_groups
from conemos_bundle.utils.processes import end_with_parent

if os.name != "nt":
    import resource

REGIONS = 5  # of inference
GROUPS: dict[str, Callable[[Setup], Iterator[Group]]] = {"step": step_groups, "inference": inference_groups}


def measured_groups(setup: Setup) -> list[Group]:
    """The groups whose variants are measured: training steps, and inference of five regions."""
    found = [group for groups in GROUPS.values() for group in groups(setup)]
    return [group for group in found if group.part == "step" or group.regions == REGIONS]


def memory_results(setup: Setup) -> Iterator[Result]:
    """Peak MiB of each variant, above what a process takes that has imported everything; on a GPU, what is allocated.

    The processes are forked from one that has imported this module and computed nothing: imports take seconds, and a
    process that was started by another would count that one's memory as its own peak.
    """
    for group in measured_groups(setup):
        title = f"Peak memory: {group.title[0].lower()}{group.title[1:]}"
        values: dict[str, list[float]] = {}
        left_out: dict[str, str] = {}
        for name in group.variants:
            found = peak_in_child(setup, group.title, name)
            if found is None:
                left_out[name] = "no figure: its process ended, or the system does not tell"
            else:
                values[name] = [found / 2**20]
        yield Result(group._replace(part="memory", title=title, dtype=""), values, {}, left_out, "MiB")


def peak_in_child(setup: Setup, title: str, name: str) -> float | None:
    """Bytes at the peak of two calls of a variant; None where it could not be measured."""
    if os.name == "nt" or "forkserver" not in multiprocessing.get_all_start_methods():
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(theirs, setup, title, name))
    process.start()
    theirs.close()
    found = None
    with suppress(EOFError):
        found = float(ours.recv())
    process.join()
    return found


def _report_peak(answer: Connection, setup: Setup, title: str, name: str) -> None:
    end_with_parent(os.getppid())
    answer.send(peak(setup, title, name))


def peak(setup: Setup, title: str, name: str) -> float:
    """Bytes at the peak of two calls of a variant in this process, above what it takes now."""
    cuda = torch.device(setup.device).type == "cuda"
    before = 0 if cuda else _resident_peak()
    group = next(group for group in measured_groups(setup) if group.title == title)
    call = group.variants[name]()
    for _ in range(2):  # Adam's state comes with the first step
        call()
    return float(torch.cuda.max_memory_allocated() if cuda else _resident_peak() - before)


def _resident_peak() -> int:
    """Bytes of main memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
