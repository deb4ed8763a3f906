"""The random transforms of training, by the names and values that ``configs/train.json`` lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.transforms.intensity import ScalePercentilesd
from conemos_bundle.transforms.own_scale import RandCropAtScaled
from conemos_bundle.transforms.spatial import RandDeformd
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandBiasFieldd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandSimulateLowResolutiond,
    RandSpatialCropd,
    Transform,
)

ANISOTROPIC = 2.0
BOTH = ("image", "label")


def rotation_range(degrees: float, spacing: Sequence[float]) -> list[float]:
    """Rotation about each axis, ± radians. Where one axis is much coarser, only about that one: rotations out of the
    plane would shear anatomy in voxels that are not cubes.

    Args:
        degrees: ± about each axis.
        spacing: of the voxels, three numbers in mm.
    """
    radians = math.radians(degrees)
    coarsest = max(range(3), key=lambda axis: spacing[axis])
    if spacing[coarsest] / min(spacing) <= ANISOTROPIC:
        return [radians] * 3
    return [radians if axis == coarsest else 0.0 for axis in range(3)]


def _crop_around_region(plan: Mapping[str, Any], margin: float, **values: Any) -> Transform:
    """A crop around a voxel of the region drawn, or one whose answer is known; ``margin`` times the patch, for what the
    deformation that follows takes from beyond it. `RegionDataset` makes the two masks."""
    if plan.get("scales"):
        return RandCropAtScaled(BOTH, margin, **values)
    values.pop("elsewhere", None)
    size = [int(margin * side) for side in plan["patch_size"]]
    return RandCropByPosNegLabeld(BOTH, "foreground", size, image_key="known", allow_smaller=True, **values)


def augmentation(
    plan: Mapping[str, Any],
    rotation_degrees: float,
    flip_probability: Sequence[float],
    steps: Mapping[str, Mapping[str, Any]],
) -> Compose:
    """The random transforms of a scan and its masks, and the cut to the patch.

    Args:
        plan: of the network's input, see `plan_input`.
        rotation_degrees: the deformation rotates by ± this about each axis (`rotation_range`).
        flip_probability: of mirroring each of the three axes.
        steps: values of each step by its name, in the order of application: ``crop_around_region``, ``deform``
            (``every_axis``: rotate about coarse axes too), ``crop_anywhere``, ``flip``, ``bias_field``, ``smooth``,
            ``low_resolution``, ``contrast``, ``noise``, ``scale_intensities``.

    Raises:
        UserError: there is no such step, ``flip_probability`` is not of three axes, or regions have scales of their own
            and no step crops around them.
    """
    if len(flip_probability) != 3:
        raise UserError(f"--flip_probability {list(flip_probability)}: give three numbers, one per axis")
    patch_size = list(plan["patch_size"])
    if plan.get("scales") and "crop_around_region" not in steps:
        raise UserError("--scales: takes the augmentation step crop_around_region; leave --scales out, or the overlay")

    def deform(every_axis: bool = False, **values: Any) -> RandDeformd:
        rotation = rotation_range(rotation_degrees, (1, 1, 1) if every_axis else plan["spacing"])
        return RandDeformd(BOTH, rotation=rotation, **{"patch_size": patch_size, **values})

    def flip() -> Compose:
        return Compose([RandFlipd(BOTH, prob, axis) for axis, prob in enumerate(flip_probability)])

    known: dict[str, Callable[..., Any]] = {
        "crop_around_region": lambda **values: _crop_around_region(plan, **values),
        "deform": deform,
        "crop_anywhere": lambda: RandSpatialCropd(BOTH, patch_size, random_size=False),
        "flip": flip,
        "bias_field": lambda **values: RandBiasFieldd("image", **values),
        "smooth": lambda **values: RandGaussianSmoothd("image", **values),
        "low_resolution": lambda **values: RandSimulateLowResolutiond("image", **values),
        "contrast": lambda **values: RandAdjustContrastd("image", **values),
        "noise": lambda **values: RandGaussianNoised("image", **values),
        "scale_intensities": lambda **values: ScalePercentilesd("image", **values),
    }
    for name in steps:
        if name not in known:
            raise UserError(f"augmentation::steps::{name}: no such step; use some of {', '.join(known)}")
    return Compose([known[name](**values) for name, values in steps.items()]).flatten()
