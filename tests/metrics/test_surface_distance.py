from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conemos_bundle.metrics.surface_distance import sd95, surface_distances
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

SHAPE = (14, 16, 12)


def _blob(seed: int) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2)
    return noise > np.quantile(noise, 0.8)


def _cube(first: int, side: int = 4) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[first : first + side, 4 : 4 + side, 4 : 4 + side] = True
    return mask


def _surface_points(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """In mm, the voxels of the mask one of whose six neighbors is in the image and outside the mask."""
    points = []
    for voxel in np.argwhere(mask):
        neighbors = [voxel + step for axis in np.eye(3, dtype=int) for step in (axis, -axis)]
        inside = [n for n in neighbors if all(0 <= n[a] < mask.shape[a] for a in range(3))]
        if not all(mask[tuple(n)] for n in inside):
            points.append(voxel * np.array(spacing))
    return np.array(points)


def _brute_force(first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    a, b = _surface_points(first, spacing), _surface_points(second, spacing)
    return np.concatenate([cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.5, 1.25)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_brute_force(seed: int, spacing: tuple[float, ...]) -> None:
    """The blobs touch the edges of the image, so its edge as a surface would show."""
    prediction, reference = _blob(seed), _blob(seed + 10)
    assert prediction[0].any()
    expected = _brute_force(prediction, reference, spacing)
    np.testing.assert_allclose(np.sort(surface_distances(prediction, reference, spacing)), np.sort(expected))
    assert sd95(prediction, reference, spacing) == pytest.approx(np.percentile(expected, 95))


def test_both_directions_are_pooled() -> None:
    """A stray voxel is one of 57 + 56 surface voxels, below 5%: it alone does not move SD95."""
    reference = _cube(4)
    prediction = reference.copy()
    prediction[13, 15, 11] = True
    assert sd95(prediction, reference) == 0.0
    assert surface_distances(prediction, reference).max() == pytest.approx(math.hypot(6, 8, 4))
    assert surface_distances(prediction, reference).size == 57 + 56


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_a_shift_by_n_voxels_is_n_voxels(shift: int) -> None:
    assert sd95(_cube(4 + shift), _cube(4)) == shift
    assert sd95(_cube(4 + shift), _cube(4), spacing=(0.5, 1.0, 1.0)) == 0.5 * shift
    assert surface_distances(_cube(4 + 6), _cube(4), spacing=(2.5, 1.0, 1.0)).max() == 6 * 2.5


def test_is_symmetric_and_zero_for_equal_masks() -> None:
    first, second = _blob(3), _blob(4)
    assert sd95(first, second) == pytest.approx(sd95(second, first))
    assert sd95(first, first) == 0.0


def test_isotropic_spacing_is_a_factor() -> None:
    first, second = _blob(5), _blob(6)
    assert sd95(first, second, (3.0, 3.0, 3.0)) == pytest.approx(3 * sd95(first, second))


def test_does_not_depend_on_the_empty_space_around() -> None:
    first, second = np.pad(_blob(7), 1), np.pad(_blob(8), 1)
    assert sd95(np.pad(first, 9), np.pad(second, 9)) == pytest.approx(sd95(first, second))


def test_takes_tensors() -> None:
    assert sd95(torch.as_tensor(_cube(6)).float(), torch.as_tensor(_cube(4)).float()) == 2.0


def test_empty_prediction_gets_the_largest_side() -> None:
    empty = np.zeros(SHAPE, bool)
    assert surface_distances(empty, _cube(4)).size == 0
    assert sd95(empty, _cube(4)) == 16  # voxels
    assert sd95(empty, _cube(4), spacing=(3.0, 1.0, 1.0)) == 14 * 3.0  # mm: the longest side is another one


def test_reference_without_a_surface_has_no_value() -> None:
    empty, full = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    assert surface_distances(empty, empty).size == 0
    assert math.isnan(sd95(_cube(4), empty))
    assert math.isnan(sd95(empty, empty))
    assert math.isnan(sd95(_cube(4), full))


def test_refuses_other_shapes_and_unknown_references() -> None:
    with pytest.raises(ValueError, match="one shape"):
        sd95(_cube(4)[1:], _cube(4))
    with pytest.raises(ValueError, match="not annotated"):
        sd95(_cube(4), np.full(SHAPE, np.nan))
