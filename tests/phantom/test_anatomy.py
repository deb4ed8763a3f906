from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conemos_bundle.phantom.anatomy import (
    PLACENTA_GAP,
    PLACENTA_THICKNESS,
    REGIONS,
    draw_fetus,
    draw_mother,
    region_masks,
    signed_distances,
)
from conemos_bundle.phantom.geometry import grid_points
from scipy.ndimage import binary_dilation, distance_transform_edt, label

SEEDS = range(12)


def masks_of(seed: int, size: int, spacing: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    mother = draw_mother(rng)
    return region_masks(signed_distances(grid_points(size, spacing), mother, draw_fetus(rng, mother)))


@pytest.fixture(scope="module")
def scans() -> list[dict[str, np.ndarray]]:
    return [masks_of(seed, 48, 4.0) for seed in SEEDS]


def test_regions_are_nested_and_disjoint(scans: list[dict[str, np.ndarray]]) -> None:
    for masks in scans:
        assert list(masks) == list(REGIONS) == ["uterus", "body", "brain", "eyes", "placenta"]
        for inner, outer in [("body", "uterus"), ("brain", "body"), ("eyes", "body")]:
            assert not (masks[inner] & ~masks[outer]).any()
            assert masks[inner].sum() < masks[outer].sum()
        assert not (masks["eyes"] & masks["brain"]).any()
        assert not (masks["placenta"] & masks["uterus"]).any()


def test_two_eyes_of_some_voxels_each_near_the_brain(scans: list[dict[str, np.ndarray]]) -> None:
    for masks in scans:
        pieces, number = label(masks["eyes"])
        assert number == 2
        assert np.bincount(pieces.ravel())[1:].min() >= 25
        assert masks["brain"].sum() >= 400
        near_brain = binary_dilation(masks["brain"], iterations=4)
        assert (pieces[near_brain] == 1).any() and (pieces[near_brain] == 2).any()


def test_each_other_region_is_one_piece(scans: list[dict[str, np.ndarray]]) -> None:
    for masks in scans:
        for region in ("uterus", "body", "brain", "placenta"):
            assert label(masks[region], np.ones((3, 3, 3)))[1] == 1, region


def test_placenta_lies_on_the_uterus_and_within_the_field_of_view(scans: list[dict[str, np.ndarray]]) -> None:
    for masks in scans:
        around = binary_dilation(masks["uterus"], iterations=2) & ~masks["uterus"]
        assert (masks["placenta"] & around).sum() > 0.15 * masks["placenta"].sum()
        distance = 4.0 * distance_transform_edt(~masks["uterus"])  # mm
        assert 10 < distance[masks["placenta"]].max() < PLACENTA_THICKNESS[1] + PLACENTA_GAP + 4
    assert not any(masks["uterus"].take(end, axis).any() for masks in scans for axis in range(3) for end in (0, -1))


def test_the_fetus_has_room(scans: list[dict[str, np.ndarray]]) -> None:
    for masks in scans:
        assert 0.15 < masks["body"].sum() / masks["uterus"].sum() < 0.5
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mother = draw_mother(rng)
        fetus = draw_fetus(rng, mother)
        spheres = fetus.scale * np.concatenate([fetus.bones.reshape(-1, 4), [[*fetus.head_center, 30]]])
        centers = spheres[:, :3] @ fetus.rotation.T + fetus.center
        assert np.linalg.norm(centers / (mother.uterus_semi_axes - spheres[:, 3:]), axis=1).max() < 1.02


def test_nested_and_disjoint_even_where_the_fetus_has_no_room() -> None:
    rng = np.random.default_rng(0)
    mother = draw_mother(rng)
    fetus = draw_fetus(rng, mother)
    to_the_eyes = fetus.rotation @ (fetus.head_center + fetus.head_rotation @ (0, 20, -8))
    for shift in (30, 45, 60):
        squeezed = replace(fetus, center=fetus.center + shift * to_the_eyes / np.linalg.norm(to_the_eyes))
        masks = region_masks(signed_distances(grid_points(48, 4.0), mother, squeezed))
        assert not (masks["body"] & ~masks["uterus"]).any()
        assert not ((masks["brain"] | masks["eyes"]) & ~masks["body"]).any()
        assert not (masks["brain"] & masks["eyes"]).any()


def test_any_orientation() -> None:
    rng = np.random.default_rng(0)
    mothers = [draw_mother(rng) for _ in range(40)]
    rotations = np.stack([mother.uterus_rotation @ draw_fetus(rng, mother).rotation for mother in mothers])
    assert np.linalg.det(rotations) == pytest.approx(1)  # turned, never mirrored
    assert (rotations.min(axis=0) < -0.7).all() and (rotations.max(axis=0) > 0.7).all()
    upwards = [draw_fetus(rng, mothers[0]).rotation[2, 2] for _ in range(10)]
    assert min(upwards) < -0.5 and max(upwards) > 0.5  # in the same uterus head first and breech


def test_sizes_are_in_mm() -> None:
    coarse, fine = masks_of(3, 48, 4.0), masks_of(3, 96, 2.0)
    for region in REGIONS:
        assert coarse[region].sum() * 4.0**3 == pytest.approx(fine[region].sum() * 2.0**3, rel=0.1), region


def test_same_anatomy_in_a_larger_field_of_view() -> None:
    small, large = masks_of(3, 48, 4.0), masks_of(3, 64, 4.0)
    for region in REGIONS:
        assert (large[region][8:56, 8:56, 8:56] == small[region]).mean() > 0.9999, region
