"""The preparation of a scan: masks stay masks, and what is cached stays flat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.data.datalist import read_datalist, scan_items
from conemos_bundle.transforms import ExpandRegionsd, ResampleToSpacingd
from conemos_bundle.transforms.prepare import in_sequence, preparation
from conemos_bundle.utils.known import IGNORED
from monai.transforms import Compose, RandFlipd

PLAN: dict[str, Any] = {"in_channels": 1, "spacing": [1.3, 2.5, 1.7], "patch_size": [8, 8, 8]}
REGIONS = ["outer", "inner core"]


@pytest.fixture
def item(tiny_dataset: Path) -> dict[str, Any]:
    return scan_items(read_datalist(tiny_dataset / "datalist.json"), "training", tiny_dataset)[3]


def test_image_in_0_to_1_and_masks_of_0_and_1_on_the_networks_grid(item: dict[str, Any]) -> None:
    prepared = preparation(PLAN, REGIONS)(item)
    image, label = prepared["image"], prepared["label"]
    assert label.shape == (2, *image.shape[1:]) == (2, 31, 14, 19)  # of 20 × 18 × 16 voxels of 2 mm
    assert (float(image.min()), float(image.max())) == (0.0, 1.0)
    assert set(label.unique().tolist()) == {0, 1}  # bilinear interpolation would leave values between
    assert bool((label[1] <= label[0]).all())
    assert prepared["annotated"].tolist() == [0, 1]
    torch.testing.assert_close(image.affine, label.affine)


def test_ignored_voxels_are_not_mixed_with_others(item: dict[str, Any]) -> None:
    item["masks"]["inner core"] = {**item["masks"]["inner core"], "ignore": [1]}
    label = preparation(PLAN, REGIONS)(item)["label"]
    assert set(label[1].unique().tolist()) == {0, 1, IGNORED}


def test_the_image_is_interpolated_linearly_and_masks_are_not() -> None:
    (resample,) = [each for each in preparation(PLAN, REGIONS).transforms if isinstance(each, ResampleToSpacingd)]
    assert (resample.keys, list(resample.mode)) == (("image", "label"), ["bilinear", "nearest"])


def test_evaluation_keeps_the_masks_on_the_grid_of_their_scan(item: dict[str, Any]) -> None:
    prepared = preparation(PLAN, REGIONS, resample_masks=False)(item)
    assert prepared["image"].shape == (1, 31, 14, 19)
    assert prepared["label"].shape == (2, 20, 18, 16)


def test_a_sequence_is_flat_and_keeps_the_transforms_themselves() -> None:
    prepare, expand, flip = preparation(PLAN, REGIONS), ExpandRegionsd("label", 2), RandFlipd("image")
    parts = in_sequence([prepare, expand, Compose([flip])]).transforms
    assert parts == (*prepare.transforms, expand, flip)
