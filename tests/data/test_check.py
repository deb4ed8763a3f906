from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pytest
from conemos_bundle.data.check import problems, problems_and_relations
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.errors import UserError
from conemos_bundle.transforms import CheckScand, LoadImageScand
from conemos_bundle.volumes import Volume, read_volume

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])  # of all files of `good`
Content = dict[str, Any]


def found(content: Content, folder: Path) -> list[str]:
    return problems(Datalist.model_validate(content), folder)


def test_a_good_data_set_has_no_problems(good: Content, tmp_path: Path) -> None:
    lines, relations = problems_and_relations(Datalist.model_validate(good), tmp_path)
    assert lines == []
    assert relations == [
        ("whole", "contains", "front", 4),
        ("whole", "contains", "back", 4),
        ("front", "excludes", "back", 4),
    ]


def rewrite(
    name: str, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray = AFFINE
) -> Callable[[Path, Content], None]:
    def rewritten(folder: Path, _: Content) -> None:
        voxels = change(np.asarray(nibabel.load(folder / name).dataobj))
        nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / name)

    return rewritten


def values_missing(_: Path, content: Content) -> None:
    content["training"][0]["masks"]["front"]["values"] = [7, 8]


def channel_too_large(_: Path, content: Content) -> None:
    content["training"][0]["masks"]["back"]["channel"] = 2


def channel_of_3d(_: Path, content: Content) -> None:
    content["training"][0]["masks"]["back"] = {"file": "m0.nii.gz", "channel": 0}


def mask_of_4d(_: Path, content: Content) -> None:
    content["training"][0]["masks"]["back"] = "c0.nii.gz"


def label_map_as_mask(_: Path, content: Content) -> None:
    content["training"][0]["masks"]["front"] = "l0.nii.gz"


def damaged(name: str) -> Callable[[Path, Content], None]:
    def change(folder: Path, _: Content) -> None:
        (folder / name).write_bytes(b"no image\nat all")

    return change


def truncated(folder: Path, _: Content) -> None:
    content = (folder / "i0.nii.gz").read_bytes()
    (folder / "i0.nii.gz").write_bytes(content[: len(content) // 2])


def image_is_folder(folder: Path, _: Content) -> None:
    (folder / "i0.nii.gz").unlink()
    (folder / "i0.nii.gz").mkdir()


def listed_in_two_splits(_: Path, content: Content) -> None:
    content["test"][0]["image"] = "./i1.nii.gz"


def linked_twice(folder: Path, _: Content) -> None:
    (folder / "i3.nii.gz").unlink()
    (folder / "i3.nii.gz").symlink_to(folder / "i0.nii.gz")


def inner_first(_: Path, content: Content) -> None:
    content["regions"] = ["front", "whole", "back"]


def channel_files(second: str) -> Callable[[Path, Content], None]:
    """The image of each scan becomes two files, one per channel; the second of the first scan is ``second``."""

    def change(folder: Path, content: Content) -> None:
        for index, scan in enumerate([*content["training"], *content["validation"], *content["test"]]):
            shutil.copy(folder / f"i{index}.nii.gz", folder / f"j{index}.nii.gz")
            scan["image"] = [f"i{index}.nii.gz", f"j{index}.nii.gz"]
        for name, changed in {"k0.nii.gz": lambda voxels: voxels[:-1], "two.nii.gz": two_channels}.items():
            shutil.copy(folder / "i0.nii.gz", folder / name)
            rewrite(name, changed)(folder, content)
        content["training"][0]["image"][1] = second

    return change


def with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(voxels: np.ndarray) -> np.ndarray:
        voxels = voxels.astype(np.float32)
        voxels[0, 0, 0] = value
        return voxels

    return change


def two_channels(voxels: np.ndarray) -> np.ndarray:
    return np.stack([voxels, voxels[::-1]], -1)


MOVED = AFFINE.copy()
MOVED[0, 3] = 0.01

BAD = [
    ("image is a folder", image_is_folder, ["error: ", "i0.nii.gz: no such file"]),
    ("image damaged", damaged("i0.nii.gz"), ["error: ", "i0.nii.gz: cannot be read"]),
    ("image truncated", truncated, ["error: ", "i0.nii.gz: cannot be read"]),
    ("mask damaged", damaged("m0.nii.gz"), ["error: ", "m0.nii.gz: cannot be read"]),
    (
        "shape of a mask",
        rewrite("m0.nii.gz", lambda voxels: voxels[:-1]),
        ["error: ", "m0.nii.gz: shape (5, 5, 4) differs from (6, 5, 4) of its image", "i0.nii.gz"],
    ),
    (
        "affine of a mask",
        rewrite("m0.nii.gz", lambda voxels: voxels, MOVED),
        ["error: ", "m0.nii.gz: affine [[1.0, 0.0, 0.0, 0.01],", "differs from [[1.0, 0.0, 0.0, 0.0],", "i0.nii.gz"],
    ),
    ("label map as mask", label_map_as_mask, ["error: ", "l0.nii.gz: not binary"]),
    (
        "label map not of integers",
        rewrite("l0.nii.gz", with_value(1.5)),
        ["error: ", "l0.nii.gz: a label map holds integers, but this has the value 1.5"],
    ),
    (
        "values absent",
        values_missing,
        ["error: ", "l0.nii.gz: annotated region 'front' is empty (no voxel has a value of [7, 8])"],
    ),
    (
        "empty mask",
        rewrite("m0.nii.gz", np.zeros_like),
        ["error: ", "m0.nii.gz: annotated region 'whole' is empty (no voxel is 1)"],
    ),
    ("channel out of range", channel_too_large, ["error: ", "c0.nii.gz: has 2 channels"]),
    ("channel of a 3D file", channel_of_3d, ["error: ", "m0.nii.gz: 'channel' is 0, but the file is 3D"]),
    ("4D mask without channel", mask_of_4d, ["error: ", "c0.nii.gz: has 2 channels", "'channel'"]),
    ("NaN in the image", rewrite("i0.nii.gz", with_value(np.nan)), ["error: ", "i0.nii.gz: has NaN or infinite"]),
    ("infinite image", rewrite("i0.nii.gz", with_value(-np.inf)), ["error: ", "i0.nii.gz: has NaN or infinite"]),
    ("NaN in a mask", rewrite("m0.nii.gz", with_value(np.nan)), ["error: ", "m0.nii.gz: has NaN or infinite"]),
    (
        "constant image",
        rewrite("i0.nii.gz", lambda voxels: np.full_like(voxels, 3)),
        ["error: ", "i0.nii.gz: the image is constant (3 everywhere)"],
    ),
    (
        "2D image",
        rewrite("i0.nii.gz", lambda voxels: voxels[:, :, 0]),
        ["error: ", "i0.nii.gz: a 2D image of", "give a 3D scan"],
    ),
    (
        "5D image",
        rewrite("i0.nii.gz", lambda voxels: voxels[..., None, None]),
        ["error: ", "i0.nii.gz: an image of", "give a 3D scan"],
    ),
    (
        "other number of channels",
        rewrite("i1.nii.gz", two_channels),
        ["error: ", "i1.nii.gz: 2 channel(s), but", "i0.nii.gz has 1"],
    ),
    (
        "channel files of two shapes",
        channel_files("k0.nii.gz"),
        ["error: ", "k0.nii.gz: shape (5, 5, 4) differs from (6, 5, 4)"],
    ),
    (
        "channel file of two channels",
        channel_files("two.nii.gz"),
        ["error: ", "two.nii.gz: 2 channels", "each is one channel"],
    ),
    ("channel file missing", channel_files("no.nii.gz"), ["error: ", "no.nii.gz: no such file"]),
    ("channel file twice", channel_files("i0.nii.gz"), ["error: ", "i0.nii.gz: the same image is listed twice"]),
    (
        "image in two splits",
        listed_in_two_splits,
        ["error: ", "i1.nii.gz: the same image is listed twice, in training[1] and test[0]"],
    ),
    (
        "link to an image",
        linked_twice,
        ["error: ", "i3.nii.gz: the same image is listed twice, in training[0] and test[0]"],
    ),
    ("inner region first", inner_first, ["warning: regions: 'whole' contains 'front' but is listed after it"]),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_each_problem_is_one_line(
    change: Callable[[Path, Content], None], words: list[str], good: Content, tmp_path: Path
) -> None:
    change(tmp_path, good)
    lines = found(good, tmp_path)
    assert len(lines) == 1
    assert lines[0].startswith(words[0])
    assert "\n" not in lines[0]
    for word in words:
        assert word in lines[0]


def test_absent_values_are_fine_where_others_are_present(good: Content, tmp_path: Path) -> None:
    good["training"][0]["masks"]["front"]["values"] = [1, 7]
    assert found(good, tmp_path) == []


def test_a_label_map_is_read_once_a_scan(good: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index, scan in enumerate([*good["training"], *good["validation"], *good["test"]]):
        values = {"whole": [1, 2], "front": [1], "back": [2]}
        scan["masks"] = {region: {"file": f"l{index}.nii.gz", "values": each} for region, each in values.items()}
    read: list[str] = []

    def counted(file: Path, labels: bool = False) -> Volume:
        read.append(file.name)
        return read_volume(file, labels)

    monkeypatch.setattr("conemos_bundle.data.check_files.read_volume", counted)
    assert found(good, tmp_path) == []
    assert sorted(read) == sorted(f"{kind}{index}.nii.gz" for kind in "il" for index in range(4))


def test_images_of_several_channels_are_fine(good: Content, tmp_path: Path) -> None:
    channel_files("j0.nii.gz")(tmp_path, good)
    assert found(good, tmp_path) == []
    rewrite("j0.nii.gz", two_channels)(tmp_path, good)
    good["training"][0]["image"] = "j0.nii.gz"
    assert found(good, tmp_path) == []


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_images_of_other_formats_fraction_the_grid_of_their_nifti_masks(
    extension: str, good: Content, tmp_path: Path
) -> None:
    affine = AFFINE.copy()
    affine[:3, 3] = 5, 6, 7
    for name in ("i0", "l0", "m0", "c0"):
        rewrite(f"{name}.nii.gz", lambda voxels: voxels, affine)(tmp_path, good)
    itk.imwrite(itk.imread(str(tmp_path / "i0.nii.gz")), str(tmp_path / f"i0{extension}"))
    good["training"][0]["image"] = f"i0{extension}"
    assert found(good, tmp_path) == []


def test_a_region_that_no_test_scan_tells_of(good: Content, tmp_path: Path) -> None:
    for scan in good["test"]:
        del scan["masks"]["front"]
    (line,) = found(good, tmp_path)
    assert line.startswith("warning: region 'front': no test scan annotates it")
    good["test"] = []
    assert found(good, tmp_path) == []


def test_an_unknown_region_is_no_problem_and_tells_nothing(good: Content, tmp_path: Path) -> None:
    for split in ("training", "validation", "test"):
        for scan in good[split]:
            del scan["masks"]["whole" if split == "training" else "front"]
    good["training"].append(dict(good["test"].pop(), subject="s9"))
    lines, relations = problems_and_relations(Datalist.model_validate(good), tmp_path)
    assert lines == ["warning: region 'front': no validation scan annotates it"]
    assert relations == [("whole", "contains", "back", 2), ("front", "excludes", "back", 2)]


def test_a_missing_folder_is_a_user_error(good: Content, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder; pass --dataset_dir"):
        found(good, tmp_path / "nowhere")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_scan_of_one_slice_is_judged_as_by_training_and_prediction(axis: int, good: Content, tmp_path: Path) -> None:
    for kind in "ilmc":
        image = nibabel.load(tmp_path / f"{kind}0.nii.gz")
        one = np.take(np.asarray(image.dataobj), [2], axis)
        nibabel.save(nibabel.Nifti1Image(one, image.affine), tmp_path / f"{kind}0.nii.gz")
    said = [line for line in found(good, tmp_path) if "not a 3D image" in line]
    assert len(said) == 1 and said[0].startswith(f"error: {tmp_path / 'i0.nii.gz'}: ")
    with pytest.raises(UserError) as error:
        CheckScand()(LoadImageScand()({"image": str(tmp_path / "i0.nii.gz")}))
    assert said == [f"error: {error.value}"]
