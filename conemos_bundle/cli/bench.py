"""``conemos bench``: what training and inference cost on this machine, beside networks of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from conemos_bundle.cli.arguments import names_of
from conemos_bundle.errors import UsageError
from conemos_bundle.files import reject_unwritable
from conemos_bundle.paper.bench.setup import DTYPES, PARTS, QUICK, Setup
from conemos_bundle.utils.nearest import suggestion


def bench(
    output: str = "bench",
    size: int | None = None,
    channels: Sequence[int] | None = None,
    dtype: str = "float32",
    device: str | None = None,
    rounds: int | None = None,
    only: str | Sequence[str] = PARTS,
    most_seconds: float | None = None,
    quick: bool = False,
) -> None:
    """Time training steps, inference and start-up against MONAI's networks and a plain UNet, side by side.

    Random images and weights; no data set is needed. Writes ``bench.md``, ``bench.csv`` and ``bench.png``.

    Args:
        output: the folder for them.
        size: voxels per side of the images; 64.
        channels: features per level of every network, three to five numbers; 16,32,64,128.
        dtype: ``float32``, ``bfloat16`` or ``both``.
        device: such as ``cpu`` or ``cuda:0``; default: a GPU where there is one.
        rounds: how often each call is timed; 5.
        only: some of ``step``, ``inference``, ``memory``, ``startup``, ``growth`` and ``augmentation``.
        most_seconds: leave out what takes longer at once; 60.
        quick: small sizes, 3 rounds, a minute or two: to see that it runs, not to compare.

    Raises:
        UserError: an option makes no sense, there is no such device, or the folder cannot be written to.
    """
    start = QUICK if quick else Setup()
    setup = replace(
        start,
        size=start.size if size is None else size,
        channels=start.channels if channels is None else _channels(channels),
        dtypes=_dtypes(dtype),
        rounds=start.rounds if rounds is None else rounds,
        most_seconds=start.most_seconds if most_seconds is None else most_seconds,
    )
    _check(setup)
    parts = _parts(only)
    folder = Path(output).expanduser()
    reject_unwritable(folder)

    from conemos_bundle.paper.bench.run import TABLES, run_bench
    from conemos_bundle.predictor.loading import torch_device

    run_bench(folder, replace(setup, device=str(torch_device(device))), parts)
    print(f"wrote {folder / TABLES}\nnext: open {folder / TABLES}")


def _channels(channels: object) -> tuple[int, ...]:
    found = tuple(channels) if isinstance(channels, list | tuple) else (channels,)
    if not all(isinstance(each, int) and not isinstance(each, bool) and each > 0 for each in found):
        raise UsageError(f"--channels {channels}: give three to five numbers, such as 16,32,64,128")
    if not 3 <= len(found) <= 5:
        raise UsageError(f"--channels {','.join(map(str, found))}: give three to five numbers, such as 16,32,64,128")
    return found


def _dtypes(dtype: str) -> tuple[str, ...]:
    known = (*DTYPES, "both")
    if dtype not in known:
        raise UsageError(f"--dtype {dtype}: use one of {', '.join(known)}{suggestion(dtype, known)}")
    return DTYPES if dtype == "both" else (dtype,)


def _parts(only: str | Sequence[str]) -> list[str]:
    asked = names_of(only) if isinstance(only, str) else list(only)
    for name in asked:
        if name not in PARTS:
            raise UsageError(f"--only {name}: use some of {', '.join(PARTS)}{suggestion(name, PARTS)}")
    return [part for part in PARTS if part in asked]


def _check(setup: Setup) -> None:
    step = 16  # MONAI's BasicUNet has five levels; instance norm needs more than one voxel in the last
    least = max(2, 3 * 2 ** (len(setup.channels) - 5)) * step
    if setup.size < least or setup.size % step:
        raise UsageError(f"--size {setup.size}: give a multiple of {step}, at least {least}")
    if setup.rounds < 1:
        raise UsageError(f"--rounds {setup.rounds}: give a number of at least 1")
    if not setup.most_seconds > 0:
        raise UsageError(f"--most_seconds {setup.most_seconds:g}: give a number above 0")
