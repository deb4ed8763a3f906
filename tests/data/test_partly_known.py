"""Absent regions and ignored voxels in the data set of training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.data.region_dataset import RegionDataset, ignore_crop_warnings
from conemos_bundle.data.sampling import Sample
from conemos_bundle.errors import UserError, find_user_error
from conemos_bundle.transforms import LoadImageScand, LoadRegionMasksd, RandDeformd
from monai.transforms import Compose, RandCropByPosNegLabeld, Spacingd

SHAPE = (18, 20, 30)
REGIONS = ["body", "brain", "eyes"]
KEYS = ["image", "label"]


def write(path: Path, array: np.ndarray) -> str:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    return str(path)


@pytest.fixture
def items(tmp_path: Path) -> list[dict[str, Any]]:
    """One scan: the body known in two of its slices, the brain absent, the eyes annotated."""
    body = np.zeros(SHAPE, np.uint8)
    body[4:9, 4:15, 2:28] = 1
    known = np.zeros(SHAPE, np.uint8)
    known[..., [3, 26]] = 1
    eyes = np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.uint8)
    masks = {
        "body": {"file": write(tmp_path / "body.nii", body), "known": write(tmp_path / "known.nii", known)},
        "brain": {"absent": True},
        "eyes": {"file": write(tmp_path / "eyes.nii", eyes)},
    }
    image = np.random.default_rng(1).random(SHAPE).astype(np.float32) + 1  # 0 in a patch: beyond the scan
    return [{"image": write(tmp_path / "image.nii", image), "name": "a", "masks": masks}]


def dataset(items: list[dict[str, Any]], *transforms: Any, **options: Any) -> RegionDataset:
    preparation = [LoadImageScand("image"), LoadRegionMasksd(REGIONS)]
    return RegionDataset(items, Compose([*preparation, *transforms]), REGIONS, progress=False, **options)


def crop(**options: Any) -> RandCropByPosNegLabeld:
    arguments = {"label_key": "foreground", "image_key": "known", "spatial_size": (8, 8, 4), "pos": 1, "neg": 2}
    return RandCropByPosNegLabeld(KEYS, **{**arguments, **options})


def test_targets_are_nan_where_ignored_and_0_where_absent(items: list[dict[str, Any]]) -> None:
    body, brain = (dataset(items)[Sample(0, k, 0)]["label"] for k in (0, 1))
    known = np.zeros(SHAPE, bool)
    known[..., [3, 26]] = True
    np.testing.assert_array_equal(~body[0].isnan().numpy(), known)
    assert body[0].nansum() == 2 * 5 * 11
    assert brain.eq(0).all()
    together = dataset(items, target="annotated")[Sample(0, 1, 0)]["label"]
    torch.testing.assert_close(together[:2], torch.cat([body, brain]), equal_nan=True, rtol=0, atol=0)


def test_of_all_regions_those_without_a_known_voxel_in_the_patch_are_left_out(items: list[dict[str, Any]]) -> None:
    every, annotated = (
        dataset(items, crop(), **options) for options in ({"regions_per_scan": "all"}, {"target": "annotated"})
    )
    found = []
    for seed in range(20):
        patch, masks = (data[Sample(0, 1, seed)] for data in (every, annotated))
        known = [k for k in range(3) if not masks["label"][k].isnan().all()]
        assert patch["regions"].tolist() == known + [-1] * (3 - len(known))
        torch.testing.assert_close(patch["label"][: len(known)], masks["label"][known], equal_nan=True, rtol=0, atol=0)
        assert patch["label"][len(known) :].isnan().all()
        found.append(known)
    assert [1, 2] in found and [0, 1, 2] in found


def test_what_is_annotated_absent_and_unknown(items: list[dict[str, Any]]) -> None:
    del items[0]["masks"]["eyes"]
    data = dataset(items)
    assert (data.annotated, data.absent) == ([[0]], [[1]])
    drawn = {int(data[Sample(0, 0, seed)]["unannotated"]) for seed in range(9)}
    assert drawn == {2}  # an absent region needs no teacher


def test_each_patch_is_around_something_known(items: list[dict[str, Any]]) -> None:
    """Two of 30 slices are known: a patch of 4 slices from anywhere would mostly hold neither."""
    data = dataset(items, crop())
    labels = torch.stack([data[Sample(0, 0, seed)]["label"] for seed in range(60)])
    holds_region = (labels == 1).flatten(1).any(1).float().mean().item()
    assert (~labels.isnan()).flatten(1).any(1).all()
    assert 0.4 < holds_region < 0.95  # a third around it, and the others often near it


@pytest.mark.parametrize("target", ["region", "annotated"])
def test_a_patch_without_anything_known_is_drawn_anew(items: list[dict[str, Any]], target: str) -> None:
    """As where the crop comes after the deformation and looks at nothing: `paper.json`."""
    anywhere = RandCropByPosNegLabeld(KEYS, "anywhere", (8, 8, 8), pos=0, neg=1)

    def add_anywhere(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "anywhere": torch.zeros_like(data["label"][:1])}

    data = dataset(items, RandDeformd(KEYS, SHAPE, prob=0), add_anywhere, anywhere, target=target)
    labels = [data[Sample(0, 0, seed)]["label"][0] for seed in range(40)]
    assert all((~label.isnan()).any() for label in labels)
    again = [data[Sample(0, 0, seed)]["label"][0] for seed in reversed(range(40))]
    for one, other in zip(labels, reversed(again), strict=True):
        torch.testing.assert_close(one, other, equal_nan=True, rtol=0, atol=0)


def test_patches_of_an_absent_region_come_from_anywhere_without_a_warning(items: list[dict[str, Any]]) -> None:
    x, y, z = (torch.linspace(1, 2, n) for n in SHAPE)
    write(Path(items[0]["image"]), (x[:, None, None] + 10 * y[:, None] + 100 * z).numpy())
    data = dataset(items, crop())
    with warnings.catch_warnings(record=True) as caught:
        ignore_crop_warnings()  # as when the module is imported; pytest has its own filters
        corners = torch.stack([data[Sample(0, 1, seed)]["image"].min() for seed in range(80)])
    assert [str(warning.message) for warning in caught if "foregrounds" in str(warning.message)] == []
    assert corners.min() < 125 and corners.max() > 195  # of 111 to about 200


def test_the_draws_of_a_region_known_everywhere_are_those_without_the_mask_of_what_is_known(
    items: list[dict[str, Any]],
) -> None:
    to_float = Spacingd(KEYS, pixdim=(1, 1, 1), mode=["bilinear", "nearest"])
    for seed in range(10):
        new, old = (dataset(items, to_float, crop(image_key=key))[Sample(0, 2, seed)] for key in ("known", None))
        assert torch.equal(new["image"], old["image"])
        assert torch.equal(new["label"], old["label"])


def test_resampling_keeps_ignored_voxels_ignored(items: list[dict[str, Any]]) -> None:
    finer = Spacingd(KEYS, pixdim=(1, 1, 0.5), mode=["bilinear", "nearest"])
    item = dataset(items, finer)[Sample(0, 0, 0)]
    assert set(item["label"].unique().tolist()) >= {0, 1}
    known = ~item["label"][0].isnan()
    assert 2 <= int(known[0, 0].sum()) <= 4  # of twice as many slices
    assert item["image"].isfinite().all()


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_an_empty_mask_is_refused_unless_declared_absent(
    items: list[dict[str, Any]], tmp_path: Path, cache: str
) -> None:
    options = {"cache": cache, "cache_dir": str(tmp_path / "cache")}
    write(tmp_path / "eyes.nii", np.zeros(SHAPE, np.uint8))
    with pytest.raises(RuntimeError) as caught:  # MONAI's, around ours
        dataset(items, **options)[Sample(0, 2, 0)]
    told = find_user_error(caught.value)
    assert "eyes.nii: annotated region 'eyes' is empty; leave it out of the datalist where nobody looked" in str(told)
    items[0]["masks"]["eyes"]["absent"] = True
    assert dataset(items, **options)[Sample(0, 2, 0)]["label"].eq(0).all()
    write(tmp_path / "eyes.nii", np.ones(SHAPE, np.uint8))
    with pytest.raises(RuntimeError) as caught:
        dataset(items, **options)[Sample(0, 2, 0)]
    told = find_user_error(caught.value)
    assert "eyes.nii: 10800 voxels lie in a region that the datalist declares absent" in str(told)


def test_what_is_known_of_an_absent_region_may_not_vanish_either(items: list[dict[str, Any]]) -> None:
    write(Path(items[0]["masks"]["body"]["file"]), np.zeros(SHAPE, np.uint8))
    items[0]["masks"]["body"]["absent"] = True
    assert dataset(items)[Sample(0, 0, 0)]["label"].nansum() == 0
    coarser = Spacingd(KEYS, pixdim=(1, 1, 10), mode=["bilinear", "nearest"])
    with pytest.raises(UserError, match="'body' is absent but has no known voxel at the spacing of training"):
        dataset(items, coarser)


def test_the_disk_cache_notices_another_file_of_what_is_known(items: list[dict[str, Any]], tmp_path: Path) -> None:
    options = {"cache": "disk", "cache_dir": str(tmp_path / "cache")}
    before = dataset(items, **options)[Sample(0, 0, 0)]["label"]
    write(tmp_path / "known.nii", np.ones(SHAPE, np.int16))
    after = dataset(items, **options)[Sample(0, 0, 0)]["label"]
    assert before.isnan().any() and not after.isnan().any()
