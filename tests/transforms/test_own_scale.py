"""Patches of a region at its own spacing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conemos_bundle.transforms.own_scale import RandCropAtScaled, pool, pool_masks
from conemos_bundle.utils.known import IGNORED


def ball(radius: float, size: int = 32) -> torch.Tensor:
    grid = torch.stack(torch.meshgrid(*[torch.arange(size)] * 3, indexing="ij")) - (size - 1) / 2
    return (grid.square().sum(0) <= radius**2).to(torch.uint8)[None]


def test_pooling_takes_means_of_blocks() -> None:
    volume = torch.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3).float()
    pooled = pool(volume, (2, 4, 1))
    assert pooled.shape == (2, 2, 1, 3)
    assert pooled[1, 0, 0, 2] == volume[1, :2, :, 2].mean()
    assert pool(volume, (1, 1, 1)) is volume


def test_the_border_goes_on_where_a_block_is_not_whole() -> None:
    assert pool(torch.tensor([1.0, 2.0, 5.0]).reshape(1, 3, 1, 1), (2, 1, 1)).flatten().tolist() == [1.5, 5]


@pytest.mark.parametrize("radius", [3, 5, 6, 11])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_pooled_masks_keep_their_volume(radius: float, factor: int) -> None:
    before, after = (float(mask.sum()) for mask in (ball(radius), pool_masks(ball(radius), [factor] * 3)))
    # equally full blocks stay together, and a ball has many of them
    assert abs(after * factor**3 - before) <= max(0.2 * before, 12 * factor**3)
    assert after > 0


def test_what_is_thin_stays() -> None:
    sheet = torch.zeros(1, 16, 16, 16, dtype=torch.uint8)
    sheet[0, 5] = 1  # a quarter of blocks of 4
    pooled = pool_masks(sheet, (4, 4, 4))
    assert pooled[0, 1].all()
    assert not pooled[0, [0, 2, 3]].any()


def test_a_pooled_voxel_is_ignored_where_nothing_has_half_of_it() -> None:
    mask = torch.zeros(1, 8, 1, 1, dtype=torch.uint8)
    mask[0, :, 0, 0] = torch.tensor([1, 1, IGNORED, IGNORED, 0, IGNORED, IGNORED, 1])
    mask = mask.repeat(1, 1, 2, 2)
    assert pool_masks(mask, (2, 2, 2))[0, :, 0, 0].tolist() == [1, IGNORED, 0, 1]


def test_nothing_changes_at_the_scale_of_the_scan() -> None:
    mask = ball(5)
    mask[0, 0] = IGNORED
    assert torch.equal(pool_masks(mask, (1, 1, 1)), mask.float())


def item(factor: int, box: Any, region: tuple[int, int, int] | None = (20, 21, 22)) -> dict[str, Any]:
    """An image whose voxels say where they are, a mask of one voxel."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(48)] * 3, indexing="ij")).float()
    label = torch.zeros(2, 48, 48, 48, dtype=torch.uint8)
    found = None
    if region is not None:
        label[1][region] = 1
        found = np.array([region, np.array(region) + 1], float)
    return {"image": grid, "label": label, "channel": 1, "factor": (factor,) * 3, "patch_size": [8, 8, 8],
            "box": box, "region_box": found}  # fmt: skip


def crops(crop: RandCropAtScaled, given: dict[str, Any], number: int = 40) -> list[dict[str, Any]]:
    crop.set_random_state(0)
    return [crop(given) for _ in range(number)]


def ends(crop: dict[str, Any], factor: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last voxel of the scan in a crop."""
    corner = (factor - 1) / 2
    return (
        np.round(crop["image"][:, 0, 0, 0].numpy() - corner),
        np.round(crop["image"][:, -1, -1, -1].numpy() + corner),
    )


@pytest.mark.parametrize("factor", [1, 2])
def test_patches_lie_in_a_larger_box(factor: int) -> None:
    box = np.array([[2, 4, 6], [40, 44, 46]], float)
    crop = RandCropAtScaled(["image", "label"], margin=1, pos=0, neg=1, elsewhere=0)
    found = [ends(each, factor) for each in crops(crop, item(factor, box))]
    assert all((first >= box[0] - 1).all() and (last <= box[1]).all() for first, last in found)
    assert len({tuple(first) for first, _ in found}) > 20
    assert all((last - first + 1 == 8 * factor).all() for first, last in found)


def test_patches_hold_a_smaller_box() -> None:
    box = np.array([[20, 20, 20], [26, 26, 26]], float)
    crop = RandCropAtScaled(["image", "label"], margin=1, pos=0, neg=1, elsewhere=0)
    for each in crops(crop, item(2, box)):
        first, last = ends(each, 2)
        assert (first <= box[0] + 1).all() and (last >= box[1] - 2).all()


def test_patches_around_the_region_hold_it() -> None:
    crop = RandCropAtScaled(["image", "label"], margin=1.25, pos=1, neg=0)
    for each in crops(crop, item(1, np.array([[0, 0, 0], [4, 4, 4]], float))):
        assert each["label"].shape == (2, 10, 10, 10)
        assert each["label"][1].sum() == 1
        assert not each["label"][0].any()


def test_some_patches_are_from_elsewhere() -> None:
    box = np.array([[0, 0, 0], [12, 12, 12]], float)
    crop = RandCropAtScaled(["image", "label"], margin=1, pos=0, neg=1, elsewhere=0.5)
    outside = [bool((ends(each, 1)[1] > 13).any()) for each in crops(crop, item(1, box), 100)]
    assert 25 < sum(outside) < 75


def test_an_absent_region_is_looked_for_in_the_box() -> None:
    box = np.array([[0, 0, 0], [12, 12, 12]], float)
    crop = RandCropAtScaled(["image", "label"], margin=1, pos=1, neg=0, elsewhere=0)
    assert all((ends(each, 1)[1] <= 13).all() for each in crops(crop, item(1, box, region=None)))


def test_a_scan_smaller_than_the_patch_is_taken_whole() -> None:
    crop = RandCropAtScaled(["image", "label"], margin=1)
    assert crops(crop, {**item(2, np.array([[0, 0, 0], [48, 48, 48]], float)), "patch_size": [40, 8, 8]}, 1)[0][
        "image"
    ].shape == (3, 24, 8, 8)
