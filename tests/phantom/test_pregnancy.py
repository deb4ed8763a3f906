from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conemos_bundle.phantom import growth
from conemos_bundle.phantom.field_of_view import FIELD, uterus_extent
from conemos_bundle.phantom.geometry import grid_points
from conemos_bundle.phantom.pregnancy import Pregnancy, distances_in_uterus, draw_pregnancy, uterus_distances
from scipy.ndimage import binary_erosion, distance_transform_edt, label

POINTS = grid_points(72, 5.0)
VOXEL = 5.0**3 / 1000  # mL


def pregnancies(count: int) -> list[Pregnancy]:
    return [draw_pregnancy(np.random.default_rng(seed)) for seed in range(count)]


def test_volumes_are_those_of_gestational_age() -> None:
    for pregnancy in pregnancies(6):
        distances = uterus_distances(POINTS, pregnancy)
        cavity, placenta = ((distances[name] < 0).sum() * VOXEL for name in ("uterus", "placenta"))
        assert placenta == pytest.approx(growth.placental_volume(pregnancy.weeks), rel=0.5)  # 15% SD, and the shape
        fetus = growth.fetal_weight(pregnancy.weeks) * pregnancy.growth**3
        assert 0.55 * growth.AMNIOTIC_FLUID < cavity - fetus < 1.8 * growth.AMNIOTIC_FLUID


def test_the_placenta_has_the_volume_asked_for_on_average() -> None:
    drawn = pregnancies(12)
    ratios = [
        (uterus_distances(POINTS, p)["placenta"] < 0).sum() * VOXEL / growth.placental_volume(p.weeks) for p in drawn
    ]
    assert np.mean(ratios) == pytest.approx(1, abs=0.15)


def test_cavity_and_placenta_are_disjoint_and_one_piece_each() -> None:
    for pregnancy in pregnancies(6):
        for points in (POINTS, POINTS[:, ::3, ::3, ::3]):
            distances = uterus_distances(points, pregnancy)
            assert not ((distances["uterus"] < 0) & (distances["placenta"] < 0)).any()
            assert (distances["wall"] <= np.minimum(distances["uterus"], distances["placenta"])).all()
        distances = uterus_distances(POINTS, pregnancy)
        assert label(distances["uterus"] < 0)[1] == label(distances["placenta"] < 0, np.ones((3, 3, 3)))[1] == 1


def test_the_placenta_is_thin_curved_and_on_the_wall() -> None:
    for pregnancy in pregnancies(6):
        distances = uterus_distances(POINTS, pregnancy)
        placenta, inside = distances["placenta"] < 0, distances["wall"] < -pregnancy.wall_thickness
        depth = distance_transform_edt(inside)[placenta] * 5.0  # mm to the outside
        assert 18 < depth.max() < 1.15 * 36 + 5
        touching = inside & ~binary_erosion(inside)
        assert 0.15 < (placenta & touching).sum() / touching.sum() < 0.6  # of the wall


def test_thickness_at_the_middle_is_the_one_drawn() -> None:
    pregnancy = draw_pregnancy(np.random.default_rng(3))
    ray = pregnancy.placenta_axis * pregnancy.uterus_semi_axes / np.linalg.norm(pregnancy.placenta_axis)
    on_the_wall = ray.reshape(3, 1, 1, 1).astype(np.float32)
    assert distances_in_uterus(on_the_wall, pregnancy)["uterus"] == pytest.approx(pregnancy.placenta_thickness, abs=0.1)
    opposite = distances_in_uterus(-on_the_wall, pregnancy)["uterus"]
    assert opposite == pytest.approx(0, abs=0.1)


def test_older_means_larger() -> None:
    extents = {}
    for pregnancy in pregnancies(60):
        extents[pregnancy.weeks] = np.prod(pregnancy.uterus_semi_axes)
    assert np.corrcoef(list(extents), list(extents.values()))[0, 1] > 0.85
    assert min(extents) < 25 and max(extents) > 36
    assert all(growth.WEEKS[0] <= weeks <= growth.WEEKS[1] for weeks in extents)


def test_everything_lies_within_its_extent_and_the_field() -> None:
    for pregnancy in pregnancies(8):
        extent = uterus_extent(pregnancy)
        assert extent.max() < FIELD / 2
        outside = (np.abs(POINTS) > extent[:, None, None, None]).any(axis=0)
        distances = uterus_distances(POINTS, pregnancy)
        assert not (distances["uterus"][outside] < 0).any() and not (distances["placenta"][outside] < 0).any()


def test_rotation_turns_the_anatomy() -> None:
    pregnancy = replace(draw_pregnancy(np.random.default_rng(0)), uterus_rotation=np.eye(3))
    turned = replace(pregnancy, uterus_rotation=np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    points = POINTS[:, 20:50, 20:50, 20:50]
    here = distances_in_uterus(points, pregnancy)["uterus"]
    np.testing.assert_allclose(distances_in_uterus(points, turned)["uterus"], here)  # its own frame does not turn
    assert np.abs(uterus_distances(points, turned)["uterus"] - uterus_distances(points, pregnancy)["uterus"]).max() > 3
