from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pytest
from conemos_bundle.commands.check import check
from conemos_bundle.data.check import problems, problems_and_relations, structural_problems
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.errors import UserError
from monai.transforms import LoadImage

SHAPE = (6, 5, 4)
Content = dict[str, Any]


def save(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine), path)


def labels() -> np.ndarray:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[1:3, 1:4, 1:3] = 1
    voxels[3:5, 1:4, 1:3] = 2
    return voxels


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE).astype(np.float32)


@pytest.fixture
def good(tmp_path: Path) -> Content:
    """Two training scans and one scan for validation and test each; all three kinds of masks."""
    content: Content = {"regions": ["whole", "front", "back"], "training": [], "validation": [], "test": []}
    for index, split in enumerate(("training", "training", "validation", "test")):
        save(tmp_path / f"i{index}.nii.gz", image(index))
        save(tmp_path / f"l{index}.nii.gz", labels())
        save(tmp_path / f"m{index}.nii.gz", (labels() > 0).astype(np.uint8))
        save(tmp_path / f"c{index}.nii.gz", np.stack([labels() == 1, labels() == 2], -1).astype(np.uint8))
        masks = {
            "whole": f"m{index}.nii.gz",
            "front": {"file": f"l{index}.nii.gz", "values": [1]},
            "back": {"file": f"c{index}.nii.gz", "channel": 1},
        }
        content[split].append({"image": f"i{index}.nii.gz", "subject": f"s{index}", "masks": masks})
    return content


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


def rewrite(name: str, voxels: np.ndarray, affine: np.ndarray | None = None) -> Callable[[Path, Content], None]:
    return lambda folder, _: save(folder / name, voxels, affine)


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


def removed(name: str) -> Callable[[Path, Content], None]:
    return lambda folder, _: (folder / name).unlink()


def image_is_folder(folder: Path, _: Content) -> None:
    (folder / "i0.nii.gz").unlink()
    (folder / "i0.nii.gz").mkdir()


def numpy_image(folder: Path, content: Content) -> None:
    np.save(folder / "i0.npy", image())
    content["training"][0]["image"] = "i0.npy"


def no_image_file(_: Path, content: Content) -> None:
    content["training"][0]["image"] = []


def subject_in_two_splits(_: Path, content: Content) -> None:
    content["test"][0]["subject"] = "s1"


def listed_twice(_: Path, content: Content) -> None:
    content["training"].append(content["training"][0])


def listed_in_two_splits(_: Path, content: Content) -> None:
    content["test"][0]["image"] = "./i1.nii.gz"


def linked_twice(folder: Path, _: Content) -> None:
    (folder / "i3.nii.gz").unlink()
    (folder / "i3.nii.gz").symlink_to(folder / "i0.nii.gz")


def never_trained(_: Path, content: Content) -> None:
    for scan in content["training"]:
        del scan["masks"]["front"]


def never_validated(_: Path, content: Content) -> None:
    del content["validation"][0]["masks"]["back"]


def inner_first(_: Path, content: Content) -> None:
    content["regions"] = ["front", "whole", "back"]


def channel_files(second: str) -> Callable[[Path, Content], None]:
    """The image of each scan becomes two files, one a channel; the second of the first scan is ``second``."""

    def change(folder: Path, content: Content) -> None:
        for index, scan in enumerate([*content["training"], *content["validation"], *content["test"]]):
            shutil.copy(folder / f"i{index}.nii.gz", folder / f"j{index}.nii.gz")
            scan["image"] = [f"i{index}.nii.gz", f"j{index}.nii.gz"]
        save(folder / "k0.nii.gz", image()[:-1])
        save(folder / "two.nii.gz", np.stack([image(), image(1)], -1))
        content["training"][0]["image"][1] = second

    return change


def with_value(voxels: np.ndarray, value: float) -> np.ndarray:
    voxels = voxels.astype(np.float32)
    voxels[0, 0, 0] = value
    return voxels


MOVED = np.diag([1.0, 2.0, 3.0, 1.0])
MOVED[0, 3] = 0.01

BAD = [
    ("image missing", removed("i0.nii.gz"), ["error: ", "i0.nii.gz: no such file"]),
    ("mask missing", removed("l0.nii.gz"), ["error: ", "l0.nii.gz: no such file"]),
    ("image is a folder", image_is_folder, ["error: ", "i0.nii.gz: no such file"]),
    ("image of another kind", numpy_image, ["error: ", "i0.npy: not an image format"]),
    ("no image file", no_image_file, ["error: training[0]: 'image' lists no file"]),
    ("image damaged", damaged("i0.nii.gz"), ["error: ", "i0.nii.gz: cannot be read"]),
    ("image truncated", truncated, ["error: ", "i0.nii.gz: cannot be read"]),
    ("mask damaged", damaged("m0.nii.gz"), ["error: ", "m0.nii.gz: cannot be read"]),
    (
        "shape of a mask",
        rewrite("m0.nii.gz", (labels() > 0).astype(np.uint8)[:-1]),
        ["error: ", "m0.nii.gz: shape (5, 5, 4) differs from (6, 5, 4) of its image", "i0.nii.gz"],
    ),
    (
        "affine of a mask",
        rewrite("m0.nii.gz", (labels() > 0).astype(np.uint8), MOVED),
        ["error: ", "m0.nii.gz: affine [[1.0, 0.0, 0.0, 0.01],", "differs from [[1.0, 0.0, 0.0, 0.0],", "i0.nii.gz"],
    ),
    ("label map as mask", label_map_as_mask, ["error: ", "l0.nii.gz: not binary"]),
    (
        "label map not of integers",
        rewrite("l0.nii.gz", with_value(labels(), 1.5)),
        ["error: ", "l0.nii.gz: a label map holds integers, but this has the value 1.5"],
    ),
    (
        "values absent",
        values_missing,
        ["error: ", "l0.nii.gz: annotated region 'front' is empty (no voxel has a value of [7, 8])"],
    ),
    (
        "empty mask",
        rewrite("m0.nii.gz", np.zeros(SHAPE, np.uint8)),
        ["error: ", "m0.nii.gz: annotated region 'whole' is empty (no voxel is 1)"],
    ),
    ("channel out of range", channel_too_large, ["error: ", "c0.nii.gz: has 2 channels"]),
    ("channel of a 3D file", channel_of_3d, ["error: ", "m0.nii.gz: 'channel' is 0, but the file is 3D"]),
    ("4D mask without channel", mask_of_4d, ["error: ", "c0.nii.gz: has 2 channels", "'channel'"]),
    (
        "NaN in the image",
        rewrite("i0.nii.gz", with_value(image(), np.nan)),
        ["error: ", "i0.nii.gz: has NaN or infinite"],
    ),
    (
        "infinite image",
        rewrite("i0.nii.gz", with_value(image(), -np.inf)),
        ["error: ", "i0.nii.gz: has NaN or infinite"],
    ),
    (
        "NaN in a mask",
        rewrite("m0.nii.gz", with_value(labels() > 0, np.nan)),
        ["error: ", "m0.nii.gz: has NaN or infinite"],
    ),
    (
        "constant image",
        rewrite("i0.nii.gz", np.full(SHAPE, 3.0, np.float32)),
        ["error: ", "i0.nii.gz: the image is constant (3 everywhere)"],
    ),
    ("2D image", rewrite("i0.nii.gz", image()[:, :, 0]), ["error: ", "i0.nii.gz: not a 3D image", "but 2D"]),
    ("5D image", rewrite("i0.nii.gz", image()[..., None, None]), ["error: ", "i0.nii.gz: not a 3D image", "but 4D"]),
    (
        "other number of channels",
        rewrite("i1.nii.gz", np.stack([image(), image(1)], -1)),
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
        "subject in two splits",
        subject_in_two_splits,
        ["error: ", "i3.nii.gz: subject 's1' is in test and in training", "i1.nii.gz"],
    ),
    (
        "scan listed twice",
        listed_twice,
        ["error: ", "i0.nii.gz: the same image is listed twice, in training[0] and training[2]"],
    ),
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
    ("region never trained", never_trained, ["error: region 'front': no training scan"]),
    ("region never validated", never_validated, ["warning: region 'back': no validation scan"]),
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


STRUCTURAL = (
    "image missing",
    "mask missing",
    "image of another kind",
    "no image file",
    "subject in two splits",
    "scan listed twice",
    "region never trained",
    "region never validated",
)


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in BAD if case[0] in STRUCTURAL], ids=STRUCTURAL)
def test_structural_problems_need_no_voxels(
    change: Callable[[Path, Content], None],
    words: list[str],
    good: Content,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LoadImage, "__call__", lambda *_: pytest.fail("read a file"))
    assert structural_problems(Datalist.model_validate(good), tmp_path) == []
    change(tmp_path, good)
    (line,) = structural_problems(Datalist.model_validate(good), tmp_path)
    assert all(word in line for word in words)


def test_absent_values_are_fine_where_others_are_present(good: Content, tmp_path: Path) -> None:
    good["training"][0]["masks"]["front"]["values"] = [1, 7]
    assert found(good, tmp_path) == []


def test_a_label_map_is_read_once_a_scan(good: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index, scan in enumerate([*good["training"], *good["validation"], *good["test"]]):
        values = {"whole": [1, 2], "front": [1], "back": [2]}
        scan["masks"] = {region: {"file": f"l{index}.nii.gz", "values": each} for region, each in values.items()}
    read: list[str] = []
    load = LoadImage.__call__

    def counted(self: LoadImage, file: Path) -> Any:
        read.append(file.name)
        return load(self, file)

    monkeypatch.setattr(LoadImage, "__call__", counted)
    assert found(good, tmp_path) == []
    assert sorted(read) == sorted(f"{kind}{index}.nii.gz" for kind in "il" for index in range(4))


def test_images_of_several_channels_are_fine(good: Content, tmp_path: Path) -> None:
    channel_files("j0.nii.gz")(tmp_path, good)
    assert found(good, tmp_path) == []
    save(tmp_path / "4d.nii.gz", np.stack([image(8), image(9)], -1))
    good["training"][0]["image"] = "4d.nii.gz"
    assert found(good, tmp_path) == []


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_images_of_other_formats_share_the_grid_of_their_nifti_masks(
    extension: str, good: Content, tmp_path: Path
) -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = 5, 6, 7
    for name in ("i0", "l0", "m0", "c0"):
        save(tmp_path / f"{name}.nii.gz", LoadImage()(tmp_path / f"{name}.nii.gz").numpy(), affine)
    itk.imwrite(itk.imread(str(tmp_path / "i0.nii.gz")), str(tmp_path / f"i0{extension}"))
    good["training"][0]["image"] = f"i0{extension}"
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


def run(good: Content, tmp_path: Path) -> str:
    (tmp_path / "datalist.json").write_text(json.dumps(good))
    return str(tmp_path / "datalist.json")


def test_the_command_prints_problems_counts_and_relations(
    good: Content, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    never_validated(tmp_path, good)
    check(run(good, tmp_path))  # a warning alone: no SystemExit
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "warning: region 'back': no validation scan annotates it",
        "",
        "annotated scans",
        "scans whole front back",
        "training 2 2 2 2",
        "validation 1 1 1 0",
        "test 1 1 1 1",
        "",
        "regions (number of scans that tell)",
        "whole contains front (4), back (3)",
        "front excludes back (3)",
    ]


def test_the_command_ends_with_1_after_an_error(
    good: Content, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(good, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    check(path)
    assert capsys.readouterr().out.startswith("no problems\n")
    with pytest.raises(SystemExit) as ended:
        check(path, dataset_dir=str(other))
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert f"error: {other / 'i0.nii.gz'}: no such file" in out
    assert "whole and front, back: unknown: never annotated together" in out
