"""The random deformation of image and mask, against MONAI's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from conemos_bundle.paper.bench.groups import Call, Group
from conemos_bundle.paper.bench.setup import Setup
from conemos_bundle.transforms import RandDeformd
from monai.transforms import Rand3DElasticd

MONAI = "MONAI Rand3DElasticd"
_EVERY: dict[str, Any] = {"keys": ["image", "label"], "prob": 1.0}


Size = tuple[int, int, int]


def _ours(size: Size) -> Any:
    return RandDeformd(patch_size=size, rotation=[0.26] * 3, scaling=0.2, elastic_std=2.0, **_EVERY)


def _monai(size: Size) -> Any:
    return Rand3DElasticd(
        sigma_range=(5, 7), magnitude_range=(0, 250), spatial_size=size, rotate_range=[0.26] * 3, scale_range=[0.2] * 3,
        mode=["bilinear", "nearest"], padding_mode="zeros", **_EVERY,
    )  # fmt: skip


def build_deformation(transform: Any, size: Size) -> Call:
    """A deformation of a random image and a mask."""
    return partial(transform, {"image": torch.rand(1, *size), "label": torch.ones(1, *size)})


def augmentation_groups(setup: Setup) -> Iterator[Group]:
    """One group; rotation, scaling and elastic deformation, on the CPU."""
    size = (setup.size, setup.size, setup.size)
    variants = {
        name: partial(build_deformation, make(size), size) for name, make in ((MONAI, _monai), ("RandDeformd", _ours))
    }
    yield Group("augmentation", "Deformation of image and mask", variants, (MONAI,))
