"""The phantom at full fidelity: an image with the low contrast and the artifacts of fetal echo-planar MR."""

from __future__ import annotations

import numpy as np
from conemos_bundle.phantom.geometry import Array, Waves
from conemos_bundle.phantom.maternal import paint, smooth_noise
from conemos_bundle.phantom.motion import Motion
from scipy.ndimage import gaussian_filter

# Painted in this order, each over what was there: mean, and contrast of its texture. Relative to pure fluid.
BRIGHTNESS = {
    "wall": (0.36, 0.03),
    "placenta": (0.52, 0.0),  # and cotyledons
    "uterus": (0.74, 0.04),
    "cord": (0.50, 0.0),
    "body": (0.46, 0.04),
    "spine": (0.36, 0.0),
    "lungs": (0.58, 0.02),
    "heart": (0.33, 0.0),
    "liver": (0.30, 0.02),
    "kidneys": (0.52, 0.0),
    "stomach and bladder": (0.74, 0.0),
    "skull": (0.36, 0.0),
    "fluid around the brain": (0.70, 0.02),
    "brain": (0.54, 0.02),  # its cortex; then what lies below
    "white matter": (0.60, 0.02),
    "fissure": (0.70, 0.0),
    "ventricles": (0.72, 0.0),
    "eyes": (0.76, 0.0),
}
VARIATION = 0.025  # of each mean from scan to scan
COTYLEDONS = (0.09, 7.0)  # contrast, and about a third of their size in mm
AGEING = 0.006  # that the placenta darkens a week: its T2* falls by 3.45 ms a week (Hutter et al. 2019)
BLUR = (0.42, 0.55)  # voxels, standard deviation: in the plane and through it
BIAS, BIAS_WAVELENGTHS = 0.16, (220.0, 480.0)
DEPTH = 500.0  # mm below the skin at which the signal of the surface coils falls to 1 / e
NOISE = (0.018, 0.04)  # standard deviation of real and imaginary part


def paint_uterus(
    image: Array, spacing: float, distances: dict[str, Array], weeks: float, rng: np.random.Generator
) -> Array:
    """Paint wall, placenta, fluid and fetus over ``image``.

    Args:
        image: (x, y, z), the mother without them.
        spacing: of the voxels, in mm.
        distances: signed distances (x, y, z) in mm of what `BRIGHTNESS` names.
        weeks: gestational age.
        rng: for what differs from scan to scan.
    """
    texture = 0.7 * (smooth_noise(image.shape, 5 / spacing, rng) + smooth_noise(image.shape, 15 / spacing, rng))
    contrast, scale = COTYLEDONS
    cells = contrast * (np.abs(smooth_noise(image.shape, scale / spacing, rng)) - 0.8)  # bright lobes, dark septa
    for name, (mean, deviation) in BRIGHTNESS.items():
        brightness = mean + rng.uniform(-VARIATION, VARIATION) + deviation * texture
        if name == "placenta":
            brightness = brightness + cells - AGEING * (weeks - 30)
        image = paint(image, distances[name], brightness, spacing)
    return image


def acquire(
    image: Array, points: Array, depth: Array, motion: Motion, slice_axis: int, rng: np.random.Generator
) -> Array:
    """What a scanner makes of ``image`` (x, y, z): blur, coil sensitivity, slices that lose signal, Rician noise.

    Args:
        image: brightness without artifacts.
        points: the voxel centers (3, x, y, z) in mm.
        depth: (x, y, z) in mm below the skin.
        motion: its gains, one per slice.
        slice_axis: along which slices follow each other.
        rng: for what differs from scan to scan.

    Returns:
        (x, y, z), in [0, 1].
    """
    in_plane, through = BLUR
    image = gaussian_filter(image, [through if axis == slice_axis else in_plane for axis in range(3)])
    bias = BIAS * Waves.draw(rng, BIAS_WAVELENGTHS, count=4)(points)
    image = image * np.exp(bias - np.maximum(depth, 0) / DEPTH)
    gains = motion.gains.astype(np.float32).reshape([-1 if axis == slice_axis else 1 for axis in range(3)])
    image = rician(image * gains, float(rng.uniform(*NOISE)), rng)
    return np.clip(image / np.percentile(image, 99.9), 0, 1)


def rician(image: Array, deviation: float, rng: np.random.Generator) -> Array:
    """The magnitude of ``image`` with Gaussian noise of ``deviation`` on its real and its imaginary part."""
    real, imaginary = deviation * rng.standard_normal((2, *image.shape), np.float32)
    return np.hypot(image + real, imaginary)
