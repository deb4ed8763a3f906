"""What the datalist and the names of files tell already: found without reading a voxel, and by the whole check too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conemos_bundle.data.check import problems, structural_problems
from conemos_bundle.data.datalist import Datalist
from monai.transforms import LoadImage

Content = dict[str, Any]


def removed(name: str) -> Callable[[Path, Content], None]:
    return lambda folder, _: (folder / name).unlink()


def numpy_image(folder: Path, content: Content) -> None:
    np.save(folder / "i0.npy", np.zeros((6, 5, 4)))
    content["training"][0]["image"] = "i0.npy"


def no_image_file(_: Path, content: Content) -> None:
    content["training"][0]["image"] = []


def subject_in_two_splits(_: Path, content: Content) -> None:
    content["test"][0]["subject"] = "s1"


def listed_twice(_: Path, content: Content) -> None:
    content["training"].append(content["training"][0])


def same_annotation(_: Path, content: Content) -> None:
    """Of two images of one subject it is no problem."""
    content["training"][0]["subject"] = "s1"
    for split in ("training", "validation"):
        content[split][0]["masks"]["whole"] = "m1.nii.gz"


def never_trained(_: Path, content: Content) -> None:
    for scan in content["training"]:
        del scan["masks"]["front"]


def never_validated(_: Path, content: Content) -> None:
    del content["validation"][0]["masks"]["back"]


BAD = [
    ("image missing", removed("i0.nii.gz"), ["error: ", "i0.nii.gz: no such file"]),
    ("mask missing", removed("l0.nii.gz"), ["error: ", "l0.nii.gz: no such file"]),
    ("image of another kind", numpy_image, ["error: ", "i0.npy: not an image format"]),
    ("no image file", no_image_file, ["error: training[0]: 'image' lists no file"]),
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
        "annotation of two subjects",
        same_annotation,
        ["warning: ", "m1.nii.gz: the same annotation is listed for two subjects, 's1' (training[0]) and 's2' (valid"],
    ),
    ("region never trained", never_trained, ["error: region 'front': no training scan"]),
    ("region never validated", never_validated, ["warning: region 'back': no validation scan"]),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_each_problem_is_one_line(
    change: Callable[[Path, Content], None], words: list[str], good: Content, tmp_path: Path
) -> None:
    change(tmp_path, good)
    (line,) = problems(Datalist.model_validate(good), tmp_path)
    assert line.startswith(words[0])
    assert "\n" not in line
    for word in words:
        assert word in line


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
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
