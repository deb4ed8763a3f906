"""How long each method takes to segment all regions of a patch, measured side by side in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Annotated

import pandas as pd
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.paper.collect import EvaluatedRun
from conemos_bundle.paper.interleaved import interleaved_seconds
from conemos_bundle.paper.methods import CONEMOS, in_order
from conemos_bundle.runs.run import machine, recorded_network
from conemos_bundle.utils.records import Strict, Text
from pydantic import ConfigDict, Field
from torch import nn


class Timing(Strict):
    """A row of ``inference.csv``."""

    model_config = ConfigDict(extra="ignore", strict=True)

    method: Text
    milliseconds: Annotated[float, Field(ge=0)]
    ratio: Annotated[float, Field(ge=0)]
    rounds: Annotated[int, Field(ge=1)]
    size: Text
    machine: Text
    torch: Text


def interleaved_medians(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each call, from `interleaved_seconds`."""
    for call in calls.values():  # the first one allocates memory and chooses algorithms
        call()
    taken = interleaved_seconds(calls, rounds)
    return {name: median(seconds) for name, seconds in taken.items()}


def measure(runs: Sequence[EvaluatedRun], size: Sequence[int] | None = None, rounds: int = 20) -> pd.DataFrame:
    """Time the inference of all K regions (Table 2), with the networks of the runs and random weights.

    Args:
        runs: runs of one data set; the first one of each method is taken.
        size: voxels of the patch; None: the patch of CoNeMOS's plan.
        rounds: how often each network is timed.

    Returns:
        one row per method with the fields of `Timing`; ``ratio`` is that to CoNeMOS's time.

    Raises:
        UserError: no run is CoNeMOS's, a network cannot be made, or ``size`` or ``rounds`` makes no sense.
    """
    methods = in_order(run.method for run in runs)
    chosen = {method: next(run for run in runs if run.method == method) for method in methods}
    if CONEMOS not in chosen:
        raise UserError(f"no run of {CONEMOS} to compare the time of inference with; train one")
    patch = list(chosen[CONEMOS].record.plan.patch_size if size is None else size)
    if len(patch) != 3 or not all(isinstance(side, int) and side > 0 for side in patch):
        raise UserError(f"--size {size}: give three numbers of voxels, such as 96,96,96")
    if not isinstance(rounds, int) or rounds < 1:
        raise UserError(f"--rounds {rounds}: give a number of at least 1")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    calls = {method: partial(_segment, *_network_and_patch(run, patch, device)) for method, run in chosen.items()}
    with torch.inference_mode():
        seconds = interleaved_medians(calls, rounds)
    table = [
        {
            "method": method,
            "milliseconds": round(1000 * seconds[method], 3),
            "ratio": round(seconds[method] / seconds[CONEMOS], 4),
            "rounds": rounds,
            "size": " x ".join(map(str, patch)),
            "machine": machine(),
            "torch": torch.__version__.split("+")[0],
        }
        for method in methods
    ]
    return pd.DataFrame(table, columns=list(Timing.model_fields))


def _network_and_patch(run: EvaluatedRun, patch: Sequence[int], device: torch.device) -> tuple[nn.Module, torch.Tensor]:
    try:
        network = recorded_network(run.record)
        image = torch.rand(1, run.record.plan.in_channels, *patch)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{run.folder}: cannot make the network of its run.json ({error}); train again") from error
    return network.to(device).eval(), image.to(device)


def _segment(network: nn.Module, image: torch.Tensor) -> None:
    network(image)
    if image.is_cuda:
        torch.cuda.synchronize()
