from __future__ import annotations

import numpy as np
import pytest
from conemos_bundle.phantom.geometry import grid_points
from conemos_bundle.phantom.motion import Motion, acquisition_order, draw_motion, moved
from scipy.spatial.transform import Rotation


def test_slices_are_interleaved() -> None:
    np.testing.assert_array_equal(acquisition_order(7), [0, 2, 4, 6, 1, 3, 5])


def test_motion_is_centered_small_and_a_rotation() -> None:
    for seed in range(10):
        motion = draw_motion(np.random.default_rng(seed), 60)
        assert motion.rotations.shape == (60, 3, 3) and motion.shifts.shape == (60, 3) and motion.gains.shape == (60,)
        np.testing.assert_allclose(motion.shifts.mean(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(np.linalg.det(motion.rotations), 1)
        angles = Rotation.from_matrix(motion.rotations).magnitude()
        assert 0 < np.rad2deg(angles).max() < 25 and 0 < np.abs(motion.shifts).max() < 12
        assert (motion.gains > 0.4).all() and (motion.gains < 1.15).all()


def test_neighbors_in_time_are_closer_than_neighbors_in_space() -> None:
    in_time, in_space = [], []
    for seed in range(30):
        shifts = draw_motion(np.random.default_rng(seed), 60).shifts
        in_time.append(np.linalg.norm(np.diff(shifts[acquisition_order(60)], axis=0), axis=1).mean())
        in_space.append(np.linalg.norm(np.diff(shifts, axis=0), axis=1).mean())
    assert np.mean(in_time) < 0.5 * np.mean(in_space)


def still(slices: int) -> Motion:
    return Motion(np.tile(np.eye(3), (slices, 1, 1)), np.zeros((slices, 3)), np.ones(slices))


@pytest.mark.parametrize("axis", range(3))
def test_at_rest_nothing_moves_and_a_slice_moves_alone(axis: int) -> None:
    points = grid_points(6, 5.0)
    np.testing.assert_array_equal(moved(points, still(6), axis), points)
    motion = still(9)
    turn = Rotation.from_rotvec([0.3, -0.2, 0.1]).as_matrix()
    motion.rotations[5], motion.shifts[5] = turn, (1, 2, 3)
    result = moved(points, motion, axis, first=2)  # slice 5 of the scan is slice 3 of these points
    others = [index for index in range(6) if index != 3]
    np.testing.assert_array_equal(result.take(others, 1 + axis), points.take(others, 1 + axis))
    # a point of the body lies at turn @ rest + shift while that slice is acquired
    place, rest = (array.take(3, 1 + axis).reshape(3, -1) for array in (points, result))
    np.testing.assert_allclose(turn @ rest + np.array([[1], [2], [3]]), place, atol=1e-4)
