"""The phantom at full fidelity: one scan, from mother and fetus to an image and the masks of the five regions."""

from __future__ import annotations

import numpy as np
from conemos_bundle.phantom.anatomy import REGIONS
from conemos_bundle.phantom.epi import acquire, paint_uterus
from conemos_bundle.phantom.fetus import EYELID, SCALP, fetus_distances
from conemos_bundle.phantom.field_of_view import (
    FIELD,
    Box,
    box_within,
    draw_field_of_view,
    points_in,
    uterus_extent,
    voxel_axes,
)
from conemos_bundle.phantom.geometry import Array, into_frame, segment_distance
from conemos_bundle.phantom.maternal import draw_surroundings, paint_surroundings
from conemos_bundle.phantom.motion import Motion, draw_motion, moved
from conemos_bundle.phantom.placement import Fetus, draw_fetus
from conemos_bundle.phantom.pregnancy import Pregnancy, distances_in_uterus, draw_pregnancy, warped
from numpy.typing import NDArray

SKIN = 1.0  # mm of fluid between fetus and wall, so that the body lies strictly inside the uterus
GREY_LEVELS = 4096  # a scanner's images have whole numbers; a power of two keeps them exact in floating point


def draw_full_scan(
    size: int, of_mother: np.random.Generator, of_scan: np.random.Generator
) -> tuple[Array, dict[str, NDArray[np.bool_]]]:
    """Draw a scan at full fidelity on ``size`` voxels per side of 384 / ``size`` mm.

    Args:
        size: voxels per side of the padded cube.
        of_mother: for what all scans of one mother share.
        of_scan: for the pose of the fetus, its motion, and how the image came out.

    Returns:
        image (size, size, size) float32 in [0, 1], and the mask (size, size, size) of each region. What was not
        acquired is 0.
    """
    pregnancy = draw_pregnancy(of_mother)
    surroundings = draw_surroundings(of_mother, pregnancy)
    field = draw_field_of_view(of_scan, pregnancy)
    fetus = draw_fetus(of_scan, pregnancy)
    axes, spacing = voxel_axes(size), FIELD / size
    acquired = box_within(axes, field.low, field.high)
    slices = acquired[field.slice_axis]
    motion = draw_motion(of_scan, slices.stop - slices.start)

    extent = uterus_extent(pregnancy) + spacing
    box = box_within(axes, np.maximum(-extent, field.low), np.minimum(extent, field.high))
    points = points_in(axes, box)
    inner = _box_in(box, acquired)
    still, moving = scan_distances(
        points, pregnancy, fetus, motion, field.slice_axis, first=inner[field.slice_axis].start
    )

    x, y, z = (axis[part] for axis, part in zip(axes, acquired, strict=True))
    picture, depth = paint_surroundings((x, y, z), surroundings, of_scan)
    picture[inner] = paint_uterus(picture[inner], spacing, moving, pregnancy.weeks, of_scan)
    picture = acquire(picture, points_in(axes, acquired), depth, motion, field.slice_axis, of_scan)

    image: Array = np.zeros((size,) * 3, np.float32)
    image[acquired] = np.round(picture * GREY_LEVELS) / GREY_LEVELS
    masks: dict[str, NDArray[np.bool_]] = {region: np.zeros((size,) * 3, bool) for region in REGIONS}
    for region, mask in masks.items():
        mask[box] = still[region] < 0
    return image, masks


def scan_distances(
    points: Array, pregnancy: Pregnancy, fetus: Fetus, motion: Motion, slice_axis: int, first: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Signed distances in mm, negative inside, of everything in the uterus: with the fetus still, and moving.

    Args:
        points: (3, x, y, z) in mm, in the scanner's frame.
        pregnancy: the mother.
        fetus: the fetus.
        motion: of all slices of the scan.
        slice_axis: along which slices follow each other.
        first: number of the first slice of ``points`` in the scan.

    Returns:
        the regions at rest, and what the image shows. Inner regions are strictly inside outer ones in both.
    """
    in_uterus = into_frame(warped(points, pregnancy), pregnancy.uterus_rotation, np.zeros(3))
    uterus = distances_in_uterus(in_uterus, pregnancy)
    straight = into_frame(points, pregnancy.uterus_rotation, np.zeros(3))
    own = into_frame(straight, fetus.rotation, fetus.center)
    still = uterus | _inside(fetus_distances(own, fetus.pose), uterus["uterus"])
    in_motion = _inside(fetus_distances(moved(own, motion, slice_axis, first), fetus.pose), uterus["uterus"])
    cord = np.minimum.reduce([segment_distance(straight, start, end) for start, end in fetus.cord])
    return still, uterus | in_motion | {"cord": np.maximum(cord, uterus["uterus"] + SKIN)}


def _box_in(box: Box, outer: Box) -> Box:
    """``box`` counted from the first corner of ``outer``."""
    first, second, third = (
        slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(box, outer, strict=True)
    )
    return first, second, third


def _inside(fetus: dict[str, Array], uterus: Array) -> dict[str, Array]:
    """The fetus cut at the wall of the uterus, and all that is in the body cut below its skin."""
    body = np.maximum(fetus["body"], uterus + SKIN)
    margins = dict.fromkeys(fetus, SCALP) | {"eyes": EYELID}
    return {name: np.maximum(fetus[name], body + margin) for name, margin in margins.items()} | {"body": body}
