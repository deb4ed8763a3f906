from __future__ import annotations

import numpy as np
import pytest
from conemos_bundle.phantom.anatomy import draw_fetus, draw_mother, region_masks, signed_distances
from conemos_bundle.phantom.appearance import epi_image
from conemos_bundle.phantom.geometry import grid_points
from scipy.ndimage import binary_erosion


@pytest.fixture(scope="module", params=range(4))
def scan(request: pytest.FixtureRequest) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(request.param)
    mother, points = draw_mother(rng), grid_points(48, 4.0)
    distances = signed_distances(points, mother, draw_fetus(rng, mother))
    return epi_image(points, 4.0, mother, distances, rng), region_masks(distances)


def test_image_is_float32_in_0_1(scan: tuple[np.ndarray, dict[str, np.ndarray]]) -> None:
    image, _ = scan
    assert image.dtype == np.float32 and image.shape == (48, 48, 48)
    assert image.min() >= 0 and image.max() == 1
    assert np.isfinite(image).all()


def test_fluid_is_bright_and_structures_differ(scan: tuple[np.ndarray, dict[str, np.ndarray]]) -> None:
    image, masks = scan
    fluid = image[binary_erosion(masks["uterus"] & ~masks["body"])].mean()
    rest = image[binary_erosion(masks["body"] & ~masks["brain"] & ~masks["eyes"])].mean()
    brain = image[binary_erosion(masks["brain"])].mean()
    eyes = image[binary_erosion(masks["eyes"])].mean()
    placenta = image[binary_erosion(masks["placenta"])].mean()
    assert rest + 0.05 < brain < fluid - 0.1
    assert eyes > brain + 0.05
    assert rest < placenta < fluid - 0.1


def test_image_changes_with_the_random_numbers_of_the_scan_only() -> None:
    mother, points = draw_mother(np.random.default_rng(0)), grid_points(24, 8.0)
    distances = signed_distances(points, mother, draw_fetus(np.random.default_rng(1), mother))
    first, again, other = (epi_image(points, 8.0, mother, distances, np.random.default_rng(s)) for s in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert 0.005 < np.abs(first - other).mean() < 0.2
