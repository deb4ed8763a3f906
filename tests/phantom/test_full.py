from __future__ import annotations

import numpy as np
import pytest
from conemos_bundle.phantom import REGIONS, draw_scan_at_full_fidelity, full
from conemos_bundle.phantom.motion import Motion
from scipy.ndimage import binary_erosion, label

Scan = tuple[np.ndarray, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def scans() -> list[Scan]:
    return [draw_scan_at_full_fidelity(64, 0, "test", mother, 0) for mother in range(4)]


def test_regions_are_nested_and_disjoint(scans: list[Scan]) -> None:
    for _, masks in scans:
        assert list(masks) == list(REGIONS)
        assert all(mask.dtype == bool and mask.shape == (64, 64, 64) and mask.any() for mask in masks.values())
        for inner, outer in [("body", "uterus"), ("brain", "body"), ("eyes", "body")]:
            assert not (masks[inner] & ~masks[outer]).any()
        assert not (masks["eyes"] & masks["brain"]).any()
        assert not (masks["placenta"] & masks["uterus"]).any()
        assert label(masks["uterus"])[1] == 1 and label(masks["placenta"], np.ones((3, 3, 3)))[1] == 1


def test_two_eyes_even_at_6_mm(scans: list[Scan]) -> None:
    for _, masks in scans:
        assert label(masks["eyes"], np.ones((3, 3, 3)))[1] == 2


def test_image_is_in_0_1_on_a_scanners_gray_levels_and_0_in_the_padding(scans: list[Scan]) -> None:
    for image, masks in scans:
        assert image.dtype == np.float32 and image.min() == 0 and image.max() == 1
        np.testing.assert_array_equal(image * full.GREY_LEVELS, np.round(image * full.GREY_LEVELS))
        acquired = [np.nonzero((image > 0).any(axis=tuple(a for a in range(3) if a != axis)))[0] for axis in range(3)]
        box = tuple(slice(index.min(), index.max() + 1) for index in acquired)
        padding = np.ones(image.shape, bool)
        padding[box] = False
        assert 0.3 < padding.mean() < 0.9  # the acquired field is a box, the rest exactly 0
        assert (image[box] > 0).mean() > 0.98  # even air is noisy where it was acquired
        assert not (masks["uterus"] | masks["placenta"])[padding].any()


def test_what_is_bright_and_what_is_dark(scans: list[Scan]) -> None:
    fluids, brains, eyes, bodies, placentas = [], [], [], [], []
    for image, masks in scans:
        fluids.append(np.median(image[binary_erosion(masks["uterus"] & ~masks["body"])]))
        brains.append(np.median(image[binary_erosion(masks["brain"])]))
        bodies.append(np.median(image[binary_erosion(masks["body"] & ~masks["brain"] & ~masks["eyes"])]))
        placentas.append(np.median(image[binary_erosion(masks["placenta"])]))
        eyes.append(image[masks["eyes"]].mean())
    assert np.mean(bodies) < np.mean(brains) < np.mean(fluids)
    assert np.mean(bodies) < np.mean(placentas) < np.mean(fluids)
    assert np.mean(eyes) > np.mean(bodies)


def test_the_same_numbers_the_same_scan(scans: list[Scan]) -> None:
    image, masks = draw_scan_at_full_fidelity(64, 0, "test", 1, 0)
    np.testing.assert_array_equal(image, scans[1][0])
    for region in REGIONS:
        np.testing.assert_array_equal(masks[region], scans[1][1][region])


def test_a_mother_keeps_uterus_and_placenta_and_the_fetus_moves(scans: list[Scan]) -> None:
    _, first = scans[2]
    _, second = draw_scan_at_full_fidelity(64, 0, "test", 2, 1)
    for region in ("uterus", "placenta"):
        np.testing.assert_array_equal(first[region], second[region])
    for region in ("body", "brain", "eyes"):
        assert (first[region] != second[region]).any()
    # and of the same size, wherever it now lies
    assert first["brain"].sum() == pytest.approx(second["brain"].sum(), rel=0.1)


def test_a_finer_grid_shows_the_same_anatomy(scans: list[Scan]) -> None:
    _, fine = draw_scan_at_full_fidelity(96, 0, "test", 0, 0)
    for region in ("uterus", "body", "brain", "placenta"):
        assert fine[region].sum() * 4.0**3 == pytest.approx(scans[0][1][region].sum() * 6.0**3, rel=0.05), region


def test_motion_changes_the_image_and_leaves_the_masks(scans: list[Scan], monkeypatch: pytest.MonkeyPatch) -> None:
    def restless(rng: np.random.Generator, slices: int) -> Motion:
        motion = full_draw_motion(rng, slices)
        shifts = np.where(np.arange(slices)[:, None] % 2, 6.0, -6.0) * np.ones((slices, 3))
        return Motion(motion.rotations, shifts, motion.gains)

    full_draw_motion = full.draw_motion
    monkeypatch.setattr(full, "draw_motion", restless)
    image, masks = draw_scan_at_full_fidelity(64, 0, "test", 1, 0)
    for region in REGIONS:
        np.testing.assert_array_equal(masks[region], scans[1][1][region])
    inside = masks["uterus"]
    assert np.abs(image - scans[1][0])[inside].mean() > 0.02  # the fetus
    assert np.abs(image - scans[1][0])[~inside].mean() < 0.01  # not the mother
