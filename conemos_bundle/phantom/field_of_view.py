"""The phantom at full fidelity: which voxels of the padded cube are acquired, and where smaller boxes lie in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from conemos_bundle.phantom.geometry import Array, Triple
from conemos_bundle.phantom.pregnancy import WARP, Pregnancy

FIELD = 384.0  # mm per side of the padded cube: 128 voxels of 3 mm
IN_PLANE = (324.0, 372.0)  # mm acquired a side: 108 to 124 voxels of 3 mm
MARGIN = (6.0, 24.0)  # mm acquired beyond the uterus at either end of the stack of slices
CORONAL = 0.6  # probability; sagittal otherwise

Axes = tuple[Array, Array, Array]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class FieldOfView:
    """The box that is acquired; the rest of the cube is padding."""

    slice_axis: int  # 0: sagittal slices, 1: coronal
    low: Array  # (3,) in mm
    high: Array


def draw_field_of_view(rng: np.random.Generator, pregnancy: Pregnancy) -> FieldOfView:
    """Draw the direction of the slices, as many as hold the uterus, and the acquired field in their plane."""
    axis = 1 if rng.random() < CORONAL else 0
    half = np.full(3, rng.uniform(*IN_PLANE) / 2)
    half[axis] = uterus_extent(pregnancy)[axis]
    low, high = -half + rng.uniform(-4, 4, 3), half + rng.uniform(-4, 4, 3)
    low[axis] = -half[axis] - rng.uniform(*MARGIN)
    high[axis] = half[axis] + rng.uniform(*MARGIN)
    return FieldOfView(axis, low, high)


def uterus_extent(pregnancy: Pregnancy) -> Array:
    """(3,) how far from the origin the uterus and its wall reach along each axis of the scanner, in mm."""
    extent = np.linalg.norm(pregnancy.uterus_rotation * pregnancy.uterus_semi_axes, axis=1)
    return extent + pregnancy.wall_thickness + 2 * WARP


def voxel_axes(size: int) -> Axes:
    """Coordinates in mm of the voxel centers of the padded cube along each axis, each (size,)."""
    axis = ((np.arange(size) - (size - 1) / 2) * FIELD / size).astype(np.float32)
    return axis, axis, axis


def box_within(axes: Axes, low: Triple, high: Triple) -> Box:
    """The voxels whose centers lie from ``low`` to ``high`` (3,) in mm; empty where there are none."""
    ends = [np.searchsorted(axis, (lowest, highest)) for axis, lowest, highest in zip(axes, low, high, strict=True)]
    first, second, third = (slice(int(start), int(stop)) for start, stop in ends)
    return first, second, third


def points_in(axes: Axes, box: Box) -> Array:
    """The voxel centers of ``box``: (3, x, y, z), in mm."""
    return np.stack(np.meshgrid(*(axis[part] for axis, part in zip(axes, box, strict=True)), indexing="ij"))
