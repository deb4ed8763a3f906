"""The phantom at full fidelity: the mother around the uterus. Only the image shows her."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from conemos_bundle.phantom.field_of_view import Axes, box_within, points_in, uterus_extent
from conemos_bundle.phantom.geometry import Array, directions, ellipsoid_distance, segment_distance
from conemos_bundle.phantom.pregnancy import Pregnancy
from scipy.ndimage import gaussian_filter

AIR, FAT, MUSCLE, INSIDE = 0.0, 0.13, 0.27, 0.31  # brightness; the signal of fat is suppressed
MUSCLE_THICKNESS = 11.0  # mm of the wall of the belly
ORGANS = 60  # loops of bowel and other soft organs


@dataclass(frozen=True)
class Surroundings:
    """The mother around the uterus: lengths in mm, in the scanner's frame."""

    semi_axes: Array  # of her trunk
    center: Array
    fat: float  # thickness under the skin
    organ_centers: Array  # (n, 3)
    organ_semi_axes: Array  # (n, 3)
    organ_brightness: Array  # (n,)


def draw_surroundings(rng: np.random.Generator, pregnancy: Pregnancy) -> Surroundings:
    """Draw a trunk that holds the uterus at its front, and bowel, vessels, muscles and bladder around the uterus."""
    extent = uterus_extent(pregnancy)
    fat = rng.uniform(8, 28)
    depth = rng.uniform(118, 140) + fat / 2
    front = extent[1] + MUSCLE_THICKNESS + fat + 3
    around = directions(rng, ORGANS) * (0.75, 0.75, 1.2)
    centers = around * (extent + rng.uniform(5, 60, (ORGANS, 1))) / np.linalg.norm(around, axis=1, keepdims=True)
    kinds = rng.choice([0.02, 0.2, 0.34, 0.46, 0.6], ORGANS, p=[0.12, 0.28, 0.35, 0.17, 0.08])  # gas to fluid
    return Surroundings(
        semi_axes=np.array([max(rng.uniform(150, 178) + fat, extent[0] + fat + 20), depth, 420]),
        center=np.array([0, front - depth, 0]),
        fat=fat,
        organ_centers=centers,
        organ_semi_axes=rng.uniform(8, 28, (ORGANS, 3)),
        organ_brightness=kinds + rng.uniform(-0.02, 0.05, ORGANS),
    )


def paint_surroundings(axes: Axes, surroundings: Surroundings, rng: np.random.Generator) -> tuple[Array, Array]:
    """Paint the mother without her uterus on the acquired grid.

    Args:
        axes: coordinates in mm of the acquired voxels along each axis.
        surroundings: what she looks like.
        rng: for the texture, which differs from scan to scan.

    Returns:
        the image (x, y, z), from 0 to about 1, and the depth (x, y, z) in mm below her skin, negative outside.
    """
    points = points_in(axes, (slice(None), slice(None), slice(None)))
    spacing = float(axes[0][1] - axes[0][0])
    depth = -ellipsoid_distance(points, surroundings.semi_axes, surroundings.center)
    texture = smooth_noise(depth.shape, 5 / spacing, rng) + smooth_noise(depth.shape, 15 / spacing, rng)
    image = np.full(depth.shape, AIR, np.float32)
    for inwards, brightness, contrast in [
        (0.0, FAT, 0.01),
        (surroundings.fat, MUSCLE, 0.02),
        (surroundings.fat + MUSCLE_THICKNESS, INSIDE, 0.04),
    ]:
        image = paint(image, inwards - depth, brightness + contrast * texture, spacing)
    back = surroundings.center[1] - surroundings.semi_axes[1]
    for x, y, radius, brightness in [
        (0, 62, 22, 0.24),  # vertebrae
        (0, 36, 7, 0.56),  # fluid of the spinal canal
        (-38, 58, 22, 0.26),  # muscles beside the spine
        (38, 58, 22, 0.26),
        (-34, 20, 20, 0.25),
        (34, 20, 20, 0.25),
        (-9, 92, 8, 0.10),  # aorta and vena cava: the signal flows away
        (11, 92, 9, 0.12),
    ]:
        ends = np.array([[x, back + y, -400, radius], [x, back + y, 400, radius]])
        low, high = ends[0, :3] - radius - spacing, ends[1, :3] + radius + spacing
        _paint_in_box(image, axes, low, high, brightness, partial(segment_distance, start=ends[0], end=ends[1]))
    for center, semi, brightness in zip(
        surroundings.organ_centers, surroundings.organ_semi_axes, surroundings.organ_brightness.tolist(), strict=True
    ):
        if -ellipsoid_distance(center.reshape(3, 1, 1, 1), surroundings.semi_axes, surroundings.center) < 40:
            continue  # no bowel in the wall of the belly
        low, high = center - semi - spacing, center + semi + spacing
        _paint_in_box(image, axes, low, high, brightness, partial(ellipsoid_distance, semi_axes=semi, center=center))
    return image, depth


def smooth_noise(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> Array:
    """Gaussian noise of ``shape``, smoothed with a ``deviation`` in voxels: mean 0, standard deviation 1."""
    noise = gaussian_filter(rng.standard_normal(shape, np.float32), deviation)
    return noise / noise.std()


def paint(image: Array, distance: Array, brightness: float | Array, spacing: float) -> Array:
    """``image`` with ``brightness`` where ``distance`` (mm) is negative; at the border, partial volume."""
    partial_volume = np.clip(0.5 - distance / spacing, 0, 1)
    return image + partial_volume * (brightness - image)


def _paint_in_box(
    image: Array, axes: Axes, low: Array, high: Array, brightness: float, distance: Callable[[Array], Array]
) -> None:
    """Paint a shape that lies between ``low`` and ``high`` (3,) into ``image``, in place."""
    box = box_within(axes, low, high)
    if image[box].size:
        spacing = float(axes[0][1] - axes[0][0])
        image[box] = paint(image[box], distance(points_in(axes, box)), brightness, spacing)
