from __future__ import annotations

import numpy as np
import pytest
from conemos_bundle.phantom.geometry import (
    Waves,
    ellipsoid_distance,
    grid_points,
    into_frame,
    segment_distance,
    smooth_union,
)
from scipy.spatial.transform import Rotation


def test_grid_points_are_centered_and_spaced() -> None:
    points = grid_points(4, 2.0)
    np.testing.assert_array_equal(points[:, 0, 1, 3], [-3, -1, 3])
    assert points.shape == (3, 4, 4, 4) and points.mean() == 0


def test_into_frame_undoes_the_placing() -> None:
    rotation = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    own = np.random.default_rng(1).normal(size=(3, 2, 3, 4)).astype(np.float32)
    placed = np.einsum("ij,jxyz->ixyz", rotation, own) + np.array([5, -2, 1]).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(into_frame(placed, rotation, np.array([5, -2, 1])), own, atol=1e-5)


def test_ellipsoid_distance() -> None:
    points = np.array([[0, 0, 0], [5, 0, 0], [0, 0, 1], [0, 2, 0]], np.float32).T.reshape(3, 4, 1, 1)
    np.testing.assert_allclose(ellipsoid_distance(points, (2, 2, 2)).ravel(), [-2, 3, -1, 0], atol=1e-5)
    np.testing.assert_allclose(ellipsoid_distance(points, (2, 2, 2), (5, 0, 0)).ravel()[:2], [3, -2], atol=1e-5)
    assert ellipsoid_distance(points, (4, 2, 1)).ravel()[:3] == pytest.approx([-1, 1, 0], abs=1e-4)


def test_segment_distance() -> None:
    points = np.array([[0, 3, 0], [5, 3, 0], [10, 3, 0], [-4, 0, 0], [13, 0, 0]], np.float32).T.reshape(3, 5, 1, 1)
    distance = segment_distance(points, np.array([0, 0, 0, 2.0]), np.array([10, 0, 0, 1.0]))
    np.testing.assert_allclose(distance.ravel(), [1, 1.5, 2, 2, 2], atol=1e-5)


def test_smooth_union() -> None:
    first, second = np.array([-3.0, 1.0, 2.0]), np.array([5.0, 1.0, 12.0])
    np.testing.assert_allclose(smooth_union(first, second, 4.0), [-3, 0, 2])  # lower only where both are near


def test_waves_have_mean_0_and_standard_deviation_1() -> None:
    waves = [Waves.draw(np.random.default_rng(seed), (20, 40)) for seed in range(20)]
    values = np.stack([wave(grid_points(24, 10.0)) for wave in waves])
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, abs=0.1)
