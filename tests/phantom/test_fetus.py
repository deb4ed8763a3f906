from __future__ import annotations

import numpy as np
import pytest
from conemos_bundle.phantom import growth
from conemos_bundle.phantom.fetus import CHANCES, SCALP, Pose, fetus_distances, pose_of, size_at, spheres
from conemos_bundle.phantom.geometry import Array, grid_points
from scipy.ndimage import label

POINTS = grid_points(100, 4.0)


def pose_at(weeks: float, seed: int = 0, factor: float = 1.0) -> Pose:
    return pose_of(size_at(weeks, factor), np.random.default_rng(seed).random(CHANCES))


def in_the_head(pose: Pose, points: Array) -> Array:
    """``points`` (3, x, y, z) of the head's own frame in the frame of the fetus, so that the head can be measured."""
    return (np.tensordot(pose.head_rotation, points, 1) + pose.head_center.reshape(3, 1, 1, 1)).astype(np.float32)


def line(axis: int) -> Array:
    """Points every 0.1 mm along an axis of the head: (3, n, 1, 1)."""
    points = np.zeros((3, 1601, 1, 1))
    points[axis, :, 0, 0] = np.linspace(-80, 80, 1601)
    return points


@pytest.mark.parametrize("weeks", [24.0, 30.0, 37.0])
def test_the_head_measures_what_the_charts_say(weeks: float) -> None:
    pose = pose_at(weeks)
    width, length = (0.1 * (fetus_distances(in_the_head(pose, line(a)), pose)["skull"] < 0).sum() for a in (0, 1))
    assert width == pytest.approx(growth.biparietal_diameter(weeks), abs=0.3)
    assert length == pytest.approx(growth.occipitofrontal_diameter(weeks), abs=0.3)


@pytest.mark.parametrize("weeks", [24.0, 30.0, 37.0])
def test_two_eyes_of_the_right_size_and_distance(weeks: float) -> None:
    pose, points = pose_at(weeks), grid_points(20, 1.0)
    inner = []
    for center in pose.size.eye_centers:
        around = points + center.reshape(3, 1, 1, 1)
        eye = fetus_distances(in_the_head(pose, around), pose)["eyes"] < 0
        assert eye.sum() == pytest.approx(4 / 3 * np.pi * (growth.eye_diameter(weeks) / 2) ** 3, rel=0.06)
        inner.append(np.abs(around[0][eye]).min() - 0.5)
    assert sum(inner) == pytest.approx(growth.interocular_distance(weeks), abs=1)


def test_all_lengths_grow_by_the_factor() -> None:
    small, large = size_at(30, 1.0), size_at(30, 1.05)
    for name in ("skull", "eye_radius", "eye_centers", "trunk", "femur"):
        np.testing.assert_allclose(getattr(large, name), 1.05 * getattr(small, name))


def test_bones_have_the_lengths_of_the_charts() -> None:
    pose, femur = pose_at(32), growth.femur_length(32)
    lengths = np.linalg.norm(pose.bones[:, 1, :3] - pose.bones[:, 0, :3], axis=1) / femur
    upper_arms, forearms, shanks, feet = lengths[[1, 8]], lengths[[2, 9]], lengths[[5, 12]], lengths[[7, 14]]
    np.testing.assert_allclose(upper_arms, growth.HUMERUS)
    np.testing.assert_allclose(forearms, growth.FOREARM)
    np.testing.assert_allclose(shanks, growth.SHANK)
    assert (feet > 0.75).all() and (feet < 1.05).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_body_is_one_piece_of_about_the_weight(seed: int) -> None:
    weeks = [25.0, 29.0, 33.0, 37.0][seed]
    pose = pose_at(weeks, seed)
    body = fetus_distances(POINTS, pose)["body"] < 0
    assert label(body)[1] == 1
    assert 0.7 < body.sum() * 4.0**3 / 1000 / growth.fetal_weight(weeks) < 1.1  # a g is about a mL
    length = np.ptp([sphere @ (0, 0, 1, 0) for sphere in spheres(pose)])
    assert length < 6.44 * growth.femur_length(weeks) + 45  # shorter than it is from crown to heel


@pytest.mark.parametrize("seed", range(4))
def test_brain_and_eyes_are_apart_and_inside_the_body(seed: int) -> None:
    pose = pose_at(26.0 + 3 * seed, seed)
    distances = fetus_distances(in_the_head(pose, grid_points(50, 2.5)), pose)
    body, brain, eyes = (distances[name] < 0 for name in ("body", "brain", "eyes"))
    assert not (brain & eyes).any()
    assert not (distances["body"][brain] > -SCALP).any() and (distances["body"][eyes] < 0).all()
    assert 0.45 < brain.sum() / (distances["skull"] < 0).sum() < 0.95 and body.sum() > brain.sum()
    for inner in ("white matter", "ventricles", "fissure"):
        assert not ((distances[inner] < 0) & ~brain).any()
    assert not ((distances["lungs"] < 0) & ~body).any()


def test_poses_differ_and_use_every_chance() -> None:
    size, middle = size_at(30, 1.0), np.full(CHANCES, 0.5)
    reference = spheres(pose_of(size, middle))
    for angle in range(CHANCES):
        changed = middle.copy()
        changed[angle] = 1.0
        pose = pose_of(size, changed)
        moved = np.abs(spheres(pose) - reference).max() > 0.5
        turned = np.abs(pose.head_rotation - pose_of(size, middle).head_rotation).max() > 0.05
        assert moved or turned, angle
    with pytest.raises(StopIteration):
        pose_of(size, middle[:-1])
