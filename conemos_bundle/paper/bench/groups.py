"""Variants that are timed together, and what was measured of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from conemos_bundle.errors import system_error
from conemos_bundle.paper.interleaved import interleaved_seconds
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

Call = Callable[[], object]


class Group(NamedTuple):
    """What is timed in the same interleaved rounds.

    ``variants`` are from names to functions that build what is called; ``peers`` the names that times are divided by;
    ``dtype`` is that of multiplications, empty where none are counted; ``regions`` is how many are segmented, where
    that is what the group is about.
    """

    part: str
    title: str
    variants: Mapping[str, Callable[[], Call]]
    peers: tuple[str, ...] = ()
    dtype: str = ""
    regions: int | None = None


class Result(NamedTuple):
    """What was measured of a group.

    ``values`` are per variant, one per round, in seconds or, where ``unit`` says so, in MiB.
    """

    group: Group
    values: dict[str, list[float]]
    multiplications: dict[str, int]
    left_out: dict[str, str]
    unit: str = "s"


def multiplications(call: Call) -> int:
    """Those of the convolutions and matrix products that a call makes, backward passes included.

    A transposed convolution is counted by its input's voxels, as it is computed: with stride 2 an eighth of its
    output's. Products with the zeros of a padding count, those of norms, activations and loss do not.
    """
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_convolution: _onednn}) as counter:
        call()
    return int(counter.get_total_flops()) // 2


def _onednn(x: torch.Size, weight: torch.Size, *_: object, out_shape: torch.Size, **__: object) -> int:
    """Twice the multiplications of `conemos_bundle.networks.convolution.conv3d`, which PyTorch's counter lacks."""
    return int(conv_flop_count(list(x), list(weight), list(out_shape)))


def synchronized(call: Call, device: str) -> Call:
    """A call that ends when the device has ended."""
    if torch.device(device).type != "cuda":
        return call

    def run() -> None:
        call()
        torch.cuda.synchronize()

    return run


def measure(group: Group, rounds: int, most_seconds: float) -> Result:
    """Build the variants, make each call once, uncounted, then ``rounds`` of all of them.

    What does not fit into memory is left out, and so is what takes longer than ``most_seconds`` at once, unless it is
    what others are measured against; the result says so.
    """
    calls: dict[str, Call] = {}
    counts: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for name, build in group.variants.items():
        try:
            call = build()
            started = time.perf_counter()
            if group.dtype:
                counts[name] = multiplications(call)
            else:
                call()
            seconds = time.perf_counter() - started
        except (MemoryError, RuntimeError) as error:
            if system_error(error) is None:
                raise
            left_out[name] = "does not fit into memory"
            continue
        if seconds > most_seconds and name not in group.peers:
            left_out[name] = f"took {seconds:.0f} s at once, more than {most_seconds:g} s"
        else:
            calls[name] = call
    return Result(group, interleaved_seconds(calls, rounds), counts, left_out)
