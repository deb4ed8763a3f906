"""The appearance of the small phantom: an image that looks somewhat like fetal echo-planar MR."""

from __future__ import annotations

import numpy as np
from conemos_bundle.phantom.anatomy import Mother
from conemos_bundle.phantom.geometry import Array, Waves, ellipsoid_distance
from scipy.ndimage import gaussian_filter

AIR = 0.02
# Painted in this order, each over what was there: mean and texture (standard deviation). Only fluid stands out.
BRIGHTNESS = {
    "wall": (0.28, 0.0),
    "placenta": (0.56, 0.05),
    "uterus": (0.88, 0.03),
    "body": (0.40, 0.04),
    "lungs": (0.52, 0.0),
    "liver": (0.25, 0.0),
    "stomach and bladder": (0.60, 0.0),
    "fluid around the brain": (0.68, 0.0),
    "brain": (0.55, 0.03),
    "eyes": (0.95, 0.0),
}
BLUR = 0.45  # voxels, standard deviation


def epi_image(
    points: Array, spacing: float, mother: Mother, distances: dict[str, Array], rng: np.random.Generator
) -> Array:
    """Paint a scan: tissue brightness, partial volume, blur, bias field, Rician noise.

    Args:
        points: voxel centers (3, size, size, size), in mm.
        spacing: of the voxels, in mm.
        mother: the mother, for the organs around the uterus.
        distances: what `signed_distances` gives at ``points``.
        rng: for what differs from scan to scan.

    Returns:
        (size, size, size) float32 in [0, 1].
    """

    def paint(image: Array, distance: Array, brightness: float | Array) -> Array:
        partial_volume = np.clip(0.5 - distance / spacing, 0, 1)
        return image + partial_volume * (brightness - image)

    tissue = 0.34 + 0.04 * Waves.draw(rng, (20, 60))(points)
    blobs = zip(mother.blob_centers, mother.blob_semi_axes, mother.blob_brightness.tolist(), strict=True)
    for center, semi_axes, brightness in blobs:
        tissue = paint(tissue, ellipsoid_distance(points, semi_axes, center), brightness)
    image = paint(np.full(points.shape[1:], AIR, np.float32), distances["abdomen"], tissue)
    texture = Waves.draw(rng, (12, 40))(points)
    for name, (mean, deviation) in BRIGHTNESS.items():
        image = paint(image, distances[name], mean + rng.uniform(-0.04, 0.04) + deviation * texture)
    image = gaussian_filter(image, BLUR)
    image *= np.exp(0.12 * Waves.draw(rng, (180, 400), count=3)(points))
    noise = rng.uniform(0.01, 0.03) * rng.standard_normal((2, *image.shape), np.float32)
    image = np.hypot(image + noise[0], noise[1])
    return np.clip(image / np.percentile(image, 99.8), 0, 1).astype(np.float32)
