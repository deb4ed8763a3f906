"""How time grows: with the voxels of a scan, the regions asked for, and the scans of one `conemos predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
from conemos_bundle.paper.bench.groups import Call, Group
from conemos_bundle.paper.bench.inference import build_inference
from conemos_bundle.paper.bench.networks import METHODS
from conemos_bundle.paper.bench.setup import Setup
from conemos_bundle.paper.bench.startup import build_command

SIDES, SIDES_QUICK = (32, 48, 64, 96), (32, 48)
REGIONS = (1, 2, 5, 10, 20)
SCANS = (1, 2, 4)
METHODS_GROWN = ("PSL loss", "CoNeMOS", "CoNeMOS, N = 7")


def times(amount: float, first: float, of: str) -> str:
    """How many times the first amount this is, in words; nothing for the first."""
    return "" if amount == first else f" ({amount / first:.3g} × the {of})"


def growth_groups(setup: Setup) -> Iterator[Group]:
    """A group per method and dimension of growth; the first row is the peer."""
    dtype = setup.dtypes[0]
    for method in METHODS_GROWN:
        sides = SIDES_QUICK if setup.quick else SIDES
        yield _group(
            f"Voxels: {method}, 5 regions, {dtype}",
            {
                f"{n}³{times(n**3, sides[0] ** 3, 'voxels')}": partial(
                    build_inference, replace(setup, size=n), dtype, METHODS[method], 5, 5
                )
                for n in sides
            },
            dtype,
        )
    for method in METHODS_GROWN[1:]:
        yield _group(
            f"Regions: {method}, K = {REGIONS[-1]}, {dtype}",
            {
                f"{n} region{'s' * (n > 1)}": partial(build_inference, setup, dtype, METHODS[method], REGIONS[-1], n)
                for n in REGIONS
            },
            dtype,
        )
    if not setup.quick:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            yield _group(
                "Scans: one conemos predict, start-up included",
                {f"{n} scan{'s' * (n > 1)}": partial(build_predict, setup, folder, n) for n in SCANS},
            )


def _group(title: str, variants: dict[str, Callable[[], Call]], dtype: str = "") -> Group:
    return Group("growth", title, variants, (next(iter(variants)),), dtype)


def build_predict(setup: Setup, folder: Path, count: int) -> Call:
    """`conemos predict` of ``count`` random scans by the package's own model, in a process of its own."""
    scans = [folder / f"{count}_{i}.nii.gz" for i in range(count)]
    for scan in scans:
        voxels = np.random.default_rng(0).random([setup.size] * 3, dtype=np.float32)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), scan)
    words = ["predict", *map(str, scans), "--output", str(folder / f"out_{count}"), "--device", setup.device]
    return build_command(["-m", "conemos_bundle", *words, "--no_resume"], folder)
