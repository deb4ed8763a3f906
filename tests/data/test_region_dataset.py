from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.data.region_dataset import RegionDataset, check_regions_per_scan
from conemos_bundle.data.sampling import Sample
from conemos_bundle.errors import UsageError, UserError
from conemos_bundle.transforms import LoadImageScand, LoadRegionMasksd, RandDeformd
from conemos_bundle.utils.values import value_of
from monai.data import MetaTensor, get_track_meta
from monai.transforms import Compose, RandCropByPosNegLabeld, RandGaussianNoised, ScaleIntensityd, Spacingd

SHAPE = (8, 9, 10)
REGIONS = ["body", "brain", "eyes", "uterus"]
ANNOTATED = [[0, 2], [1], [1, 2, 3]]


def make_mask(scan: int, region: int) -> np.ndarray:
    return (np.random.default_rng([scan, region]).random(SHAPE) < 0.5).astype(np.uint8)


def write(path: Path, array: np.ndarray) -> str:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    return str(path)


@pytest.fixture
def items(tmp_path: Path) -> list[dict[str, Any]]:
    items = []
    for scan, annotated in enumerate(ANNOTATED):
        image = np.random.default_rng(scan).random(SHAPE).astype(np.float32)
        masks = {
            REGIONS[k]: {"file": write(tmp_path / f"{scan}_{REGIONS[k]}.nii", make_mask(scan, k))} for k in annotated
        }
        items.append({"image": write(tmp_path / f"{scan}.nii", image), "name": str(scan), "masks": masks})
    return items


def transform(*random: Any) -> Compose:
    return Compose([LoadImageScand("image"), LoadRegionMasksd(REGIONS), *random])


def augmentation() -> list[Any]:
    keys = ["image", "label"]
    return [
        RandCropByPosNegLabeld(keys, "label", (6, 6, 6), pos=2, neg=1, allow_smaller=True),
        RandDeformd(keys, (4, 6, 5), rotation=[0.3] * 3, translation=1, elastic_std=1),
        RandGaussianNoised("image", prob=1, std=0.1),
    ]


def dataset(items: list[dict[str, Any]], *random: Any, **options: Any) -> RegionDataset:
    return RegionDataset(items, transform(*random), REGIONS, progress=False, **options)


def pairs() -> list[tuple[int, int]]:
    return [(scan, region) for scan, regions in enumerate(ANNOTATED) for region in regions]


def test_the_label_is_the_mask_of_the_region_drawn(items: list[dict[str, Any]]) -> None:
    data = dataset(items)
    for scan, region in pairs():
        item = data[Sample(scan, region, 0)]
        assert set(item) == {"image", "label", "regions", "unannotated"}
        assert item["label"].dtype == item["image"].dtype == torch.float32
        np.testing.assert_array_equal(item["label"].numpy(), make_mask(scan, region)[None])
        np.testing.assert_allclose(item["image"].numpy()[0], np.random.default_rng(scan).random(SHAPE), rtol=1e-6)
        assert item["regions"].tolist() == [region]


def test_an_unannotated_region_comes_along_where_there_is_one(items: list[dict[str, Any]]) -> None:
    data = dataset(items)
    for scan, annotated in enumerate(ANNOTATED):
        drawn = {int(data[Sample(scan, annotated[0], seed)]["unannotated"]) for seed in range(20)}
        assert drawn == set(range(4)) - set(annotated)
    items[1]["masks"] = dict.fromkeys(REGIONS, items[1]["masks"]["brain"])
    assert dataset(items)[Sample(1, 0, 0)]["unannotated"].tolist() == [-1]


def test_an_unknown_region_is_never_given(items: list[dict[str, Any]]) -> None:
    data = dataset(items)
    for scan in range(3):
        for region in set(range(4)) - set(ANNOTATED[scan]):
            with pytest.raises(ValueError, match="not in list"):
                data[Sample(scan, region, 0)]


@pytest.mark.parametrize("random", [(), (RandGaussianNoised("image", prob=1),)])
def test_annotated_target_is_nan_in_unknown_channels(items: list[dict[str, Any]], random: tuple[Any, ...]) -> None:
    data = dataset(items, *random, target="annotated")
    for scan, region in pairs():
        item = data[Sample(scan, region, 0)]
        assert set(item) == {"image", "label"}
        assert item["label"].shape == (4, *SHAPE)
        for k in range(4):
            if k in ANNOTATED[scan]:
                np.testing.assert_array_equal(item["label"][k].numpy(), make_mask(scan, k))
            else:
                assert item["label"][k].isnan().all()


@pytest.mark.parametrize("scan", range(3))
def test_all_regions_of_a_scan_come_with_the_patch_that_is_drawn_for_one(
    items: list[dict[str, Any]], scan: int
) -> None:
    around_the_drawn = RandCropByPosNegLabeld(["image", "label"], "foreground", (6, 6, 6), allow_smaller=True)
    one, every, annotated = (
        dataset(items, around_the_drawn, *augmentation()[1:], **options)
        for options in ({}, {"regions_per_scan": "all"}, {"target": "annotated"})
    )
    for region in ANNOTATED[scan]:
        draw = Sample(scan, region, 7)
        alone, together, in_channels = one[draw], every[draw], annotated[draw]["label"]
        assert torch.equal(alone["image"], together["image"])
        assert torch.equal(alone["unannotated"], together["unannotated"])
        count = len(ANNOTATED[scan])
        assert together["regions"].tolist() == ANNOTATED[scan] + [-1] * (3 - count)  # a scan has at most three
        assert together["label"].shape == (3, 4, 6, 5)
        assert torch.equal(together["label"][:count], in_channels[ANNOTATED[scan]])
        assert together["label"][count:].isnan().all()
        assert torch.equal(alone["label"][0], together["label"][ANNOTATED[scan].index(region)])


@pytest.mark.parametrize("value", [0, 2, True, 1.0, "1", "every", None, [1]])
def test_regions_per_scan_is_one_or_all(items: list[dict[str, Any]], value: Any) -> None:
    for allowed in (1, "all"):
        check_regions_per_scan(allowed)
    with pytest.raises(UsageError) as caught:
        check_regions_per_scan(value)
    assert str(caught.value) == f"--regions_per_scan {value}: use 1, the region drawn, or all, those annotated"
    with pytest.raises(UsageError, match="--regions_per_scan"):
        dataset(items, regions_per_scan=value)


def test_annotated_regions_of_each_scan(items: list[dict[str, Any]]) -> None:
    data = dataset(items)
    assert data.annotated == ANNOTATED
    assert len(data) == 3


@pytest.mark.parametrize(
    "options", [{"target": "region"}, {"target": "annotated"}, {"regions_per_scan": "all"}], ids=str
)
def test_a_draw_gives_one_patch_whatever_came_before_and_however_it_is_cached(
    tmp_path: Path, items: list[dict[str, Any]], options: dict[str, str]
) -> None:
    draws = [Sample(scan, region, seed) for scan, region in pairs() for seed in (1, 2)]
    expected = {}
    for draw in draws:  # each from a data set that has drawn nothing yet
        expected[draw] = dataset(items, *augmentation(), **options, cache="none")[draw]
        assert expected[draw]["image"].shape == (1, 4, 6, 5)
    for cache in ("none", "memory", "disk", value_of("none")):
        data = dataset(items, *augmentation(), **options, cache=cache, cache_dir=str(tmp_path / "cache"))
        for draw in [*reversed(draws), *draws]:
            item = data[draw]
            for key, value in expected[draw].items():
                torch.testing.assert_close(item[key], value, rtol=0, atol=0, equal_nan=True)
    first, second = (expected[Sample(0, 0, seed)]["image"] for seed in (1, 2))
    assert not torch.equal(first, second)


def test_the_state_of_the_global_generators_does_not_matter(items: list[dict[str, Any]]) -> None:
    data, images = dataset(items, *augmentation()), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        images.append(data[Sample(0, 0, 5)]["image"])
    assert torch.equal(*images)


def test_the_mask_follows_the_image_through_the_augmentation(items: list[dict[str, Any]]) -> None:
    for item in items:  # an image that is its own mask
        for source in item["masks"].values():
            source["file"] = item["image"]
        voxels = (nibabel.load(item["image"]).get_fdata() > 0.5).astype(np.uint8)
        write(Path(item["image"]), voxels)
    data = dataset(items, *augmentation()[:2])
    for scan, region in pairs():
        patch = data[Sample(scan, region, 3)]
        assert torch.equal((patch["image"] > 0.5).float(), patch["label"])


def test_draws_leave_the_cached_scan_as_it_was(items: list[dict[str, Any]]) -> None:
    data = dataset(items, *augmentation(), cache="memory")
    before = [{key: data.scans[i][key].clone() for key in ("image", "label")} for i in range(3)]
    for scan, region in pairs():
        data[Sample(scan, region, 1)]["image"].zero_()
    for i in range(3):
        assert all(torch.equal(data.scans[i][key], value) for key, value in before[i].items())


def test_a_changed_file_is_read_anew_from_the_disk_cache(tmp_path: Path, items: list[dict[str, Any]]) -> None:
    options = {"cache": "disk", "cache_dir": str(tmp_path / "cache")}
    draw = Sample(0, 2, 0)
    dataset(items, **options)[draw]
    kept = sorted((tmp_path / "cache").iterdir())
    dataset(items, **options)[draw]
    assert sorted((tmp_path / "cache").iterdir()) == kept  # not prepared a second time

    mask = Path(items[0]["masks"]["eyes"]["file"])
    write(mask, 1 - make_mask(0, 2))  # of the same size as before
    os.utime(mask, ns=(mask.stat().st_atime_ns, mask.stat().st_mtime_ns + 1))
    np.testing.assert_array_equal(dataset(items, **options)[draw]["label"].numpy()[0], 1 - make_mask(0, 2))


class Mark:
    """What would leave a mark where a cache file is loaded as code."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("damage", ["empty", "cut", "end", "list", "code", *range(20)])
def test_a_damaged_file_of_the_disk_cache_is_made_again(
    tmp_path: Path, items: list[dict[str, Any]], damage: str | int
) -> None:
    options = {"cache": "disk", "cache_dir": str(tmp_path / "cache")}
    draw = Sample(0, 2, 0)
    whole = dataset(items, **options)[draw]
    (kept,) = (tmp_path / "cache").iterdir()
    content = kept.read_bytes()
    if damage == "code":
        torch.save({"image": Mark(tmp_path / "mark")}, kept)
    else:
        random = {seed: np.random.default_rng(seed).bytes(3000) for seed in range(20)}  # each ends torch in its own way
        kept.write_bytes({"empty": b"", "cut": content[:500], "end": content[:-20], "list": b"[]", **random}[damage])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = dataset(items, **options)[draw]
    assert torch.equal(again["image"], whole["image"]) and torch.equal(again["label"], whole["label"])
    assert len(torch.load(kept, weights_only=True)) == len(torch.load(io.BytesIO(content), weights_only=True))
    assert not (tmp_path / "mark").exists()


def test_each_preparation_has_its_own_disk_cache(tmp_path: Path, items: list[dict[str, Any]]) -> None:
    options: dict[str, Any] = {"cache": "disk", "cache_dir": str(tmp_path / "cache")}
    for largest in (5.0, 3.0, 5.0):  # the same classes of transforms, with other arguments
        scaled = dataset(items, ScaleIntensityd("image", maxv=largest), **options)[Sample(0, 0, 0)]
        assert scaled["image"].max() == largest
    reordered = REGIONS[::-1]
    for regions in (REGIONS, reordered):
        preparation = Compose([LoadImageScand("image"), LoadRegionMasksd(regions)])
        eyes = RegionDataset(items, preparation, regions, **options)[Sample(0, regions.index("eyes"), 0)]
        np.testing.assert_array_equal(eyes["label"].numpy()[0], make_mask(0, 2))


def test_items_are_plain_tensors_and_the_setting_is_put_back(items: list[dict[str, Any]]) -> None:
    data = dataset(items, *augmentation())
    item = data[Sample(2, 3, 0)]
    assert not any(isinstance(value, MetaTensor) for value in item.values())
    assert get_track_meta() is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "ram"}, "cache 'ram': use one of memory, disk, none"),
        ({"target": "all"}, "target 'all': use one of region, annotated"),
        ({"cache": "disk"}, "cache 'disk' needs --cache_dir"),
    ],
)
def test_options_without_such_a_value(items: list[dict[str, Any]], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataset(items, **options)


def test_no_scan() -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        dataset([])


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_an_annotated_region_that_vanishes_at_the_spacing_of_training_is_refused(
    items: list[dict[str, Any]], tmp_path: Path, cache: str
) -> None:
    lone = np.zeros(SHAPE, np.uint8)
    lone[3, 3, 3] = 1
    write(Path(items[1]["masks"]["brain"]["file"]), lone)
    coarser = Spacingd(["image", "label"], pixdim=(4, 4, 4), mode=["bilinear", "nearest"])
    with pytest.raises(UserError, match=r"1\.nii: 'brain' is annotated but has no voxel at the spacing of training"):
        dataset(items, coarser, cache=cache, cache_dir=str(tmp_path / "cache"))[Sample(1, 1, 0)]
    assert dataset(items, coarser, cache="none")[Sample(0, 0, 0)]["label"].any()
    if cache == "memory":  # before any draw
        with pytest.raises(UserError, match="pass a finer --spacing"):
            dataset(items, coarser)
