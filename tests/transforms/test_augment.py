"""The random transforms of training: order, values, and what each is wired to."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.transforms.augment import augmentation, rotation_range
from conemos_bundle.transforms.own_scale import RandCropAtScaled
from conemos_bundle.transforms.spatial import RandDeformd
from monai.transforms import (
    RandBiasFieldd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandomizableTrait,
    RandSpatialCropd,
)

PLAN: dict[str, Any] = {"in_channels": 1, "spacing": [1.0, 1.0, 3.0], "patch_size": [8, 8, 4], "whole_scans": False}
CROP = {"crop_around_region": {"margin": 1.25, "pos": 1, "neg": 0}}


def steps(given: dict[str, Any], **options: Any) -> list[Any]:
    options = {"rotation_degrees": 15, "flip_probability": [0, 0, 0], **options}
    return list(augmentation(PLAN, steps=given, **options).transforms)


def test_steps_come_in_the_order_and_with_the_values_that_are_given() -> None:
    noise, bias = steps({"noise": {"prob": 0.3, "std": 0.05}, "bias_field": {"prob": 0.5, "coeff_range": [0.0, 0.2]}})
    assert (type(noise), type(bias)) == (RandGaussianNoised, RandBiasFieldd)
    assert (noise.prob, noise.rand_gaussian_noise.std) == (0.3, 0.05)
    assert (bias.prob, list(bias.rand_bias_field.coeff_range)) == (0.5, [0.0, 0.2])
    assert noise.keys == bias.keys == ("image",)  # never of masks


@pytest.mark.parametrize("seed", range(3))
def test_a_crop_is_around_the_region_drawn_not_around_the_label(seed: int) -> None:
    """A label of all K masks has voxels all over; ``foreground`` is the region drawn, ``known`` where one may crop."""
    (crop,) = steps(CROP)
    assert isinstance(crop, RandCropByPosNegLabeld)
    scan = {name: torch.ones(1, 40, 40, 40) for name in ("image", "label", "known")}
    scan["foreground"] = torch.zeros(1, 40, 40, 40)
    scan["foreground"][0, 30, 30, 30] = 1
    scan["image"] = torch.arange(40.0**3).reshape(1, 40, 40, 40)
    crop.set_random_state(seed)
    (patch,) = crop(scan)
    assert patch["image"].shape == patch["label"].shape == (1, 10, 10, 5)  # 1.25 times the patch
    assert patch["image"][0, 5, 5, 2] == scan["image"][0, 30, 30, 30]


def test_a_crop_elsewhere_is_where_the_answer_is_known() -> None:
    (crop,) = steps({"crop_around_region": {"margin": 1.0, "pos": 0, "neg": 1}})
    scan = {name: torch.zeros(1, 40, 40, 40) for name in ("image", "label", "known", "foreground")}
    scan["known"][0, 20, 12, 9] = scan["image"][0, 20, 12, 9] = 1
    for seed in range(3):
        crop.set_random_state(seed)
        (patch,) = crop(scan)
        assert patch["image"][0, 4, 4, 2] == 1


def test_regions_at_their_own_scales_are_cropped_there() -> None:
    plan = {**PLAN, "scales": {"a": {}}}
    crop, _ = augmentation(plan, 15, [0, 0, 0], {**CROP, "noise": {}}).transforms
    assert isinstance(crop, RandCropAtScaled)
    assert (crop.margin, crop.pos, crop.neg) == (1.25, 1, 0)
    with pytest.raises(UserError, match="--scales: takes the augmentation step crop_around_region"):
        augmentation(plan, 15, [0, 0, 0], {"crop_anywhere": {}})


def test_the_deformation_has_image_first_and_cuts_the_patch() -> None:
    (deform,) = steps({"deform": {"prob": 0.95, "scaling": 0.2}}, rotation_degrees=180)
    assert isinstance(deform, RandDeformd)
    assert (deform.keys, deform.patch_size, deform.prob) == (("image", "label"), [8, 8, 4], 0.95)
    assert (deform.scaling, deform.rotation) == (0.2, [0.0, 0.0, math.pi])  # in the plane of 1 × 1 × 3 mm
    (deform,) = steps({"deform": {"patch_size": [9, 9, 9], "every_axis": True}}, rotation_degrees=180)
    assert (deform.patch_size, deform.rotation) == ([9, 9, 9], [math.pi] * 3)


def test_flips_have_a_probability_per_axis_and_take_the_masks_along() -> None:
    flips = steps({"flip": {}}, flip_probability=[0.0, 1.0, 0.25])
    assert [type(flip) for flip in flips] == [RandFlipd] * 3
    assert [(flip.prob, flip.flipper.spatial_axis, flip.keys) for flip in flips] == [
        (prob, axis, ("image", "label")) for axis, prob in enumerate([0.0, 1.0, 0.25])
    ]


def test_a_crop_anywhere_has_the_size_of_the_patch() -> None:
    (crop,) = steps({"crop_anywhere": {}})
    assert isinstance(crop, RandSpatialCropd)
    assert crop({name: torch.ones(1, 20, 20, 20) for name in ("image", "label")})["label"].shape == (1, 8, 8, 4)


def test_the_result_is_flat_and_begins_with_a_random_transform() -> None:
    """`RegionDataset` caches what stands before the first one."""
    assert isinstance(steps({**CROP, "flip": {}})[0], RandomizableTrait)
    assert len(steps({**CROP, "flip": {}})) == 4


def test_what_is_no_step_is_refused() -> None:
    with pytest.raises(UserError, match="augmentation::steps::nois: no such step; use some of crop_around_region,"):
        steps({"nois": {}})
    with pytest.raises(UserError, match="--flip_probability \\[0.5\\]: give three numbers, one per axis"):
        steps({}, flip_probability=[0.5])


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [((1, 1, 1), [1, 1, 1]), ((1, 1, 2), [1, 1, 1]), ((1, 1, 2.1), [0, 0, 1]), ((3, 0.5, 0.5), [1, 0, 0])],
)
def test_rotation_of_anisotropic_voxels_is_in_the_plane(spacing: tuple[float, ...], expected: list[float]) -> None:
    assert rotation_range(180, spacing) == pytest.approx([math.pi * e for e in expected])
