from __future__ import annotations

from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.transforms import ExpandRegionsd, LoadRegionMasksd
from conemos_bundle.transforms import masks as masks_module
from conemos_bundle.transforms.masks import expand_regions, region_mask, vanishes
from conemos_bundle.utils.known import IGNORED
from conemos_bundle.utils.paths import bundle_folder
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import LoadImage

SHAPE = (5, 6, 7)
AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])
REGIONS = ["body", "brain", "left eye"]


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return str(path)


def random_mask(seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(SHAPE) < 0.4).astype(np.uint8)


def item(folder: Path, masks: dict[str, Any]) -> dict[str, Any]:
    image = write(folder / "image.nii.gz", np.random.default_rng(0).random(SHAPE).astype(np.float32))
    return {"image": LoadImage(ensure_channel_first=True)(image), "masks": masks, "name": "a"}


def test_binary_file_values_of_a_label_map_and_channel(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 5, SHAPE).astype(np.int16)
    channels = np.stack([random_mask(2), random_mask(3)], axis=-1)
    binary = random_mask(4)
    masks = {
        "left eye": {"file": write(tmp_path / "binary.nii.gz", binary)},
        "body": {"file": write(tmp_path / "labels.nii.gz", labels), "values": [1, 4]},
        "brain": {"file": write(tmp_path / "channels.nii.gz", channels), "channel": 1},
    }
    loaded = LoadRegionMasksd(REGIONS)(item(tmp_path, masks))
    expected = np.stack([np.isin(labels, [1, 4]), channels[..., 1], binary])  # in the order of REGIONS
    assert loaded["annotated"].tolist() == [0, 1, 2]
    assert loaded["label"].dtype == torch.uint8
    np.testing.assert_array_equal(loaded["label"].numpy(), expected)
    np.testing.assert_allclose(loaded["label"].affine, AFFINE)
    assert "masks" not in loaded
    assert loaded["name"] == "a"


def test_absent_ignored_and_known_voxels(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 5, SHAPE).astype(np.int16)
    binary, known, channels = random_mask(4), random_mask(5), np.stack([random_mask(2), random_mask(3)], axis=-1)
    channels[0, 0, 0, 1] = 9
    files = {
        "labels": write(tmp_path / "labels.nii.gz", labels),
        "binary": write(tmp_path / "binary.nii.gz", binary),
        "known": write(tmp_path / "known.nii.gz", known),
        "channels": write(tmp_path / "channels.nii.gz", channels),
    }
    sources = {
        "values": {"file": files["labels"], "values": [1, 4], "ignore": [3]},
        "scribbles": {"file": files["labels"], "values": [1], "ignore": [0, 4]},
        "both": {"file": files["labels"], "values": [2], "ignore": [3], "known": files["known"]},
        "binary": {"file": files["binary"], "known": files["known"]},
        "channel": {"file": files["channels"], "channel": 1, "ignore": [9]},
        "absent": {"absent": True},
    }
    loaded = LoadRegionMasksd(list(sources))(item(tmp_path, sources))
    expected = {
        "values": np.where(labels == 3, IGNORED, np.isin(labels, [1, 4])),
        "scribbles": np.where(np.isin(labels, [0, 4]), IGNORED, labels == 1),
        "both": np.where((labels == 3) | (known == 0), IGNORED, labels == 2),
        "binary": np.where(known == 0, IGNORED, binary),
        "channel": np.where(channels[..., 1] == 9, IGNORED, channels[..., 1]),
        "absent": np.zeros(SHAPE),
    }
    assert loaded["annotated"].tolist() == list(range(6))
    assert loaded["label"].dtype == torch.uint8
    for mask, (name, wanted) in zip(loaded["label"], expected.items(), strict=True):
        np.testing.assert_array_equal(mask.numpy(), wanted, err_msg=name)
    target = ExpandRegionsd("label", 6)(loaded)["label"]
    np.testing.assert_array_equal(target.isnan().numpy(), np.stack(list(expected.values())) == IGNORED)


def test_segments_by_name_cropped_mirrored_and_sharing_a_layer(tmp_path: Path) -> None:
    """As 3D Slicer saves them: two segments in one layer, one that overlaps them in another, cut to what they cover."""
    layers = np.zeros((2, *SHAPE), np.uint8)
    layers[0, 1:3, 2:5, 2], layers[0, 3, 2:5, 2:4] = 1, 2
    layers[1, 2:4, 3:5, 2:5] = 1
    cut = layers[:, 1:4, 2:5, 2:5][:, ::-1]  # from the other end of the first axis
    image = itk.image_from_array(np.ascontiguousarray(cut.T), is_vector=True)
    image.SetSpacing([2.0, 1.0, 3.0])
    image.SetDirection(itk.matrix_from_array(np.diag([1.0, -1.0, 1.0])))  # LPS: RAS's first axis, mirrored
    image.SetOrigin([-6.0, -2.0, 6.0])  # the voxel (3, 2, 2)
    for index, (name, layer, value) in enumerate([("front", 0, 1), ("back", 0, 2), ("Core", 1, 1)]):
        for key, text in {"ID": f"Segment_{index}", "Name": name, "Layer": layer, "LabelValue": value}.items():
            image[f"Segment{index}_{key}"] = str(text)
    file = str(tmp_path / "x.seg.nrrd")
    itk.imwrite(image, file)
    sources = {region: {"file": file, "segment": region} for region in ("Core", "front", "back")}
    sources["layer"] = {"file": file, "channel": 1}
    loaded = LoadRegionMasksd(list(sources))(item(tmp_path, sources))["label"].numpy()
    for mask, wanted in zip(loaded, [layers[1] == 1, layers[0] == 1, layers[0] == 2, layers[1] == 1], strict=True):
        np.testing.assert_array_equal(mask, wanted)
    for source, message in [
        ({"segment": "core"}, "no segment is called 'core'; has 'front', 'back', 'Core'"),
        ({}, "has 2 channels; say in the datalist which 'segment' is the region"),
        ({"channel": 0}, "not binary .* name the region's 'segment' in the datalist"),
    ]:
        with pytest.raises(UserError, match=message):
            LoadRegionMasksd(["body"])(item(tmp_path, {"body": {"file": file, **source}}))


def test_regions_without_a_mask_are_left_out_and_others_left_unread(tmp_path: Path) -> None:
    binary = random_mask(0)
    masks = {"left eye": {"file": write(tmp_path / "m.nii.gz", binary)}, "uterus": {"file": "not there.nii.gz"}}
    loaded = LoadRegionMasksd(REGIONS)(item(tmp_path, masks))
    assert loaded["annotated"].tolist() == [2]
    np.testing.assert_array_equal(loaded["label"].numpy(), binary[None])


def test_a_scan_without_any_mask(tmp_path: Path) -> None:
    loaded = LoadRegionMasksd(REGIONS)(item(tmp_path, {}))
    assert loaded["label"].shape == (0, *SHAPE)
    assert loaded["annotated"].shape == (0,)
    assert ExpandRegionsd("label", 3)(loaded)["label"].isnan().all()


def test_a_label_map_of_several_regions_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
    file = write(tmp_path / "labels.nii.gz", labels)
    transform = LoadRegionMasksd(REGIONS)
    read: list[str] = []
    load = masks_module.read_mask_file
    monkeypatch.setattr(masks_module, "read_mask_file", lambda path: read.append(path) or load(path))
    masks = {"body": {"file": file, "values": [1, 2]}, "brain": {"file": file, "values": [2]}}
    loaded = transform(item(tmp_path, masks))
    assert read == [file]
    np.testing.assert_array_equal(loaded["label"].numpy(), np.stack([labels > 0, labels == 2]))


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((5, 6, 8), AFFINE, r"m\.nii\.gz: shape \(5, 6, 8\) is not its image's, \(5, 6, 7\)"),
        (SHAPE, np.diag([2.0, 1.0, 3.01, 1.0]), r"m\.nii\.gz: its affine is not its image's: resample the mask"),
    ],
)
def test_another_grid_is_refused(tmp_path: Path, shape: tuple[int, ...], affine: np.ndarray, message: str) -> None:
    file = write(tmp_path / "m.nii.gz", np.zeros(shape, np.uint8), affine)
    with pytest.raises(UserError, match=message):
        LoadRegionMasksd(REGIONS)(item(tmp_path, {"body": {"file": file}}))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    for name in ("broken.nii.gz", "absent.nii.gz"):
        with pytest.raises(UserError, match=rf"{name}: cannot be read as an image") as caught:
            LoadRegionMasksd(REGIONS)(item(tmp_path, {"body": {"file": str(tmp_path / name)}}))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("volume", "source", "message"),
    [
        (torch.tensor([0.0, 1.0, 2.0]), {}, "m: not binary .* name the region's 'values'"),
        (torch.tensor([0.0, 0.5]), {}, "m: not binary"),
        (torch.tensor([0.0, float("nan")]), {}, "m: not binary"),
        (torch.zeros(2, 1), {"channel": 2}, "m: has 2 channels, the datalist asks for 2"),
        (torch.zeros(2, 1), {}, "m: has 2 channels; say in the datalist which 'channel'"),
        (torch.tensor([0.0, 1.0, 3.0]), {"ignore": [2]}, "m: not binary"),
        (
            torch.tensor([0.0, 1.0, 1.0]),
            {"absent": True},
            "m: 2 voxels lie in a region that the datalist declares absent",
        ),
    ],
)
def test_masks_that_are_none(volume: torch.Tensor, source: dict[str, Any], message: str) -> None:
    volume = volume.reshape(volume.shape[0] if volume.ndim == 2 else 1, -1, 1, 1)
    with pytest.raises(UserError, match=message):
        region_mask(volume, {"file": "m", **source})


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (torch.tensor([0.0, 2.0, 1.0]), "k: not one binary volume"),
        (torch.tensor([0.0, float("nan"), 1.0]), "k: not one binary volume"),
        (torch.tensor([0.0, 1.0]), r"k: shape \(2, 1, 1\) is not that of m"),
    ],
)
def test_files_known_that_are_none(known: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        region_mask(torch.zeros(1, 3, 1, 1), {"file": "m", "known": "k"}, known.view(1, -1, 1, 1))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32])
def test_values_beyond_the_type_of_a_file_are_nowhere(dtype: torch.dtype) -> None:
    volume = torch.tensor([0, 1, 44, 200 if dtype == torch.uint8 else -56]).to(dtype).view(1, 4, 1, 1)
    source = {"file": "m", "values": [1, 300], "ignore": [-1, 2**40]}  # as uint8: 44 and 255
    assert region_mask(volume, source).flatten().tolist() == [0, 1, 0, 0]


def test_expanded_channels_are_nan_where_unknown() -> None:
    masks = torch.tensor([[0, 1], [1, 1]], dtype=torch.uint8).view(2, 2, 1, 1)
    expanded = expand_regions(masks, [3, 1], 5)
    assert expanded.dtype == torch.float32
    assert expanded.shape == (5, 2, 1, 1)
    assert expanded[[0, 2, 4]].isnan().all()
    assert expanded[3].flatten().tolist() == [0, 1]
    assert expanded[1].flatten().tolist() == [1, 1]


def test_expanding_keeps_where_the_mask_lies() -> None:
    label = MetaTensor(torch.ones(1, 2, 2, 2), affine=torch.diag(torch.tensor([2.0, 1.0, 3.0, 1.0])))
    data = {"label": label, "annotated": torch.tensor([1])}
    expanded = ExpandRegionsd("label", 2)(data)["label"]
    np.testing.assert_allclose(expanded.affine, AFFINE)
    assert expanded[0].isnan().all()
    assert (expanded[1] == 1).all()
    assert data["label"] is label  # what is cached stays as it was


@pytest.mark.parametrize("spacing", [[3.0, 1.0, 2.0], [4.5, 2.5, 3.5]])
def test_a_mask_vanishes_where_the_preparation_of_training_leaves_nothing_of_it(
    tmp_path: Path, spacing: list[float]
) -> None:
    parser = ConfigParser()
    parser.read_config(str(bundle_folder() / "configs" / "train.json"))
    parser["regions"], parser["plan"] = ["body"], {"in_channels": 1, "spacing": spacing}
    prepare = parser.get_parsed_content("preparation")
    affine = np.array([[0.0, 0, 3, 5], [-1, 0, 0, 6], [0, 2, 0, 7], [0, 0, 0, 1]])  # axes permuted, one flipped
    image = write(tmp_path / "image.nii.gz", np.random.default_rng(0).random(SHAPE).astype(np.float32), affine)
    answers = []
    for voxel in np.ndindex(SHAPE):
        if sum(voxel) % 5:  # a fifth of them is enough
            continue
        mask = np.zeros(SHAPE, np.uint8)
        mask[voxel] = 1
        file = write(tmp_path / "mask.nii.gz", mask, affine)
        left = prepare({"image": image, "masks": {"body": {"file": file}}})["label"]
        answers.append(vanishes(mask, affine, spacing))
        assert answers[-1] == (not left.any()), voxel
    assert any(answers) == (spacing[0] > 3)
