"""The check of absent regions, ignored voxels, and segments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conemos_bundle.cli.check import check
from conemos_bundle.data.check import check_data_set, problems
from conemos_bundle.data.datalist import Datalist, read_datalist
from conemos_bundle.volumes.seg_nrrd import write_seg_nrrd

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])  # of all files of `good`
Content = dict[str, Any]


def write(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def read(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def found(content: Content, folder: Path) -> list[str]:
    return problems(Datalist.model_validate(content), folder)


def one(content: Content, folder: Path) -> str:
    (line,) = found(content, folder)
    return line.replace(f"{folder}/", "")


def test_declared_absent_is_no_problem_and_tells_nothing(good: Content, tmp_path: Path) -> None:
    good["training"][0]["masks"]["back"] = {"absent": True}
    good["inside"] = {"front": "whole"}
    checked = check_data_set(Datalist.model_validate(good), tmp_path)
    assert checked.lines == []
    assert checked.relations == [
        ("whole", "contains", "front", 4),
        ("whole", "contains", "back", 3),
        ("front", "excludes", "back", 3),
    ]
    good["training"][0]["masks"]["whole"] = {"absent": True}  # contradicts what lies in it
    assert "voxels of 'front' lie outside 'whole'" in one(good, tmp_path)


def test_an_absent_region_that_is_there(good: Content, tmp_path: Path) -> None:
    good["training"][0]["masks"]["front"]["absent"] = True
    assert one(good, tmp_path).startswith(
        "error: l0.nii.gz: 12 voxels lie in a region that the datalist declares absent"
    )


@pytest.mark.parametrize("kept", [1, 0])
def test_a_region_needs_a_training_scan_where_it_is_there(good: Content, tmp_path: Path, kept: int) -> None:
    for scan in good["training"][kept:]:
        scan["masks"]["front"] = {"absent": True}
    good["validation"][0]["masks"]["front"] = {"absent": True}
    lines = found(good, tmp_path)
    assert ("error: region 'front': no training scan has it; annotate one, or leave the region out" in lines) == (
        not kept
    )
    assert lines[-1] == "warning: region 'front': no validation scan annotates it"


def test_an_empty_mask_says_how_to_declare_it(good: Content, tmp_path: Path) -> None:
    good["training"][0]["masks"]["front"]["values"] = [7]
    line = one(good, tmp_path)
    assert line.startswith("error: l0.nii.gz: annotated region 'front' is empty (no voxel has a value of [7])")
    assert '"absent": true' in line and "--empty absent" in line


def test_empty_means_absent_where_the_command_is_told_so(
    good: Content, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "m0.nii.gz", np.zeros((6, 5, 4), np.uint8))
    good["training"][0]["masks"]["front"]["values"] = [7]
    (tmp_path / "d.json").write_text(json.dumps(good))
    with pytest.raises(SystemExit):
        check(str(tmp_path / "d.json"))
    assert "2 empty" not in capsys.readouterr().out
    check(str(tmp_path / "d.json"), empty="absent")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == ["no problems", f"2 empty mask(s) declared absent in {tmp_path}/d.json"]
    assert lines[4:6] == ["scans whole whole absent front front absent back", "training 2 1 1 1 1 2"]
    data = read_datalist(tmp_path / "d.json")
    assert data.training[0].absent == {"whole", "front"}
    assert [scan.absent for split in ("validation", "test") for scan in data.scans(split)] == [set(), set()]
    assert problems(data, tmp_path) == []


def test_a_region_that_is_empty_everywhere_is_an_error_though_empty_means_absent(good: Content, tmp_path: Path) -> None:
    for scan in good["training"]:
        scan["masks"]["front"]["values"] = [7]
    checked = check_data_set(Datalist.model_validate(good), tmp_path, empty_is_absent=True)
    assert checked.lines == ["error: region 'front': no training scan has it; annotate one, or leave the region out"]


def ignore_half(good: Content, folder: Path) -> None:
    """In every scan, the first three planes of front and back are known."""
    for index, scan in enumerate([*good["training"], *good["validation"], *good["test"]]):
        labels = read(folder / f"l{index}.nii.gz").copy()
        labels[3:] = 255
        write(folder / f"p{index}.nii.gz", labels)
        scan["masks"]["front"] = {"file": f"p{index}.nii.gz", "values": [1], "ignore": 255}


def test_the_known_part_is_told_and_relations_are_those_of_known_voxels(
    good: Content, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ignore_half(good, tmp_path)
    known = np.zeros((6, 5, 4), np.uint8)
    known[2:] = 1
    write(tmp_path / "known.nii.gz", known)
    good["training"][0]["masks"]["back"]["known"] = "known.nii.gz"
    (tmp_path / "d.json").write_text(json.dumps(good))
    check(str(tmp_path / "d.json"))
    out = capsys.readouterr().out
    assert out.startswith("no problems")
    assert (
        "voxels known, in scans where some are ignored\n"
        "training: front 50% (2 scans), back 66.7% (1 scans)\n"
        "validation: front 50% (1 scans)\n"
        "test: front 50% (1 scans)\n"
    ) in out
    assert "whole contains front (4)" in out  # of the back, no voxel is known where the front is


def test_a_value_to_ignore_that_never_occurs(good: Content, tmp_path: Path) -> None:
    for scan in (good["training"][0], good["test"][0]):
        scan["masks"]["front"]["ignore"] = [300]  # beyond the file's type
    line = one(good, tmp_path)
    assert line == "warning: l0.nii.gz: neither here nor in any other mask is the value 300, to be ignored"
    ignore_half(good, tmp_path)  # it occurs
    good["test"][0]["masks"]["front"] = {"file": "l3.nii.gz", "values": [1], "ignore": 255}  # known everywhere
    assert found(good, tmp_path) == []


def test_values_that_belong_to_no_region(good: Content, tmp_path: Path) -> None:
    """255 may mean that nobody has looked; 2 is `back` of another scan."""
    for name, values in (("l0", [255]), ("l2", [255, 7, 8, 9, 11])):
        labels = read(tmp_path / f"{name}.nii.gz")
        labels[0, 0, : len(values[:4])] = values[:4]
        labels[5, 4, 3] = values[-1]
        write(tmp_path / f"{name}.nii.gz", labels)
    line = one(good, tmp_path)
    assert line.startswith(
        "warning: l0.nii.gz: values of no region count as background, in 2 label map(s): 7 to 9, 11, 255; if one"
    )
    assert line.endswith("--ignore 255)")
    good["training"][0]["masks"]["front"]["ignore"] = 255
    assert "l2.nii.gz: values of no region count as background, in 1 label map(s): 7 to 9, 11, 255" in one(
        good, tmp_path
    )


def test_nothing_known(good: Content, tmp_path: Path) -> None:
    write(tmp_path / "known.nii.gz", np.zeros((6, 5, 4), np.uint8))
    good["training"][0]["masks"]["front"]["known"] = "known.nii.gz"
    assert one(good, tmp_path).startswith("error: known.nii.gz: no voxel of 'front' is known")


@pytest.mark.parametrize(
    ("voxels", "affine", "message"),
    [
        (
            np.ones((6, 5, 3), np.uint8),
            AFFINE,
            "error: known.nii.gz: shape (6, 5, 3) differs from (6, 5, 4) of its image",
        ),
        (np.ones((6, 5, 4), np.uint8), np.eye(4), "error: known.nii.gz: affine"),
        (np.full((6, 5, 4), 2, np.uint8), AFFINE, "error: known.nii.gz: not one binary volume"),
        (np.ones((6, 5, 4, 2), np.uint8), AFFINE, "error: known.nii.gz: not one binary volume"),
        (None, AFFINE, "error: known.nii.gz: no such file"),
    ],
)
def test_what_cannot_say_what_is_known(
    good: Content, tmp_path: Path, voxels: np.ndarray | None, affine: np.ndarray, message: str
) -> None:
    if voxels is not None:
        write(tmp_path / "known.nii.gz", voxels, affine)
    good["training"][0]["masks"]["front"]["known"] = "known.nii.gz"
    assert one(good, tmp_path).startswith(message)


def test_segments_of_a_cropped_file(good: Content, tmp_path: Path) -> None:
    labels = read(tmp_path / "l0.nii.gz")
    cut = np.stack([labels == 1, labels == 2]).astype(np.uint8)[:, 1:5, 1:4, 1:3]
    moved = AFFINE.copy()
    moved[:3, 3] = nibabel.affines.apply_affine(AFFINE, [1, 1, 1])
    write_seg_nrrd(tmp_path / "x.seg.nrrd", cut, moved, ["Front", "Back"])
    good["training"][0]["masks"] |= {
        "front": {"file": "x.seg.nrrd", "segment": "Front"},
        "back": {"file": "x.seg.nrrd", "channel": 1},
    }
    checked = check_data_set(Datalist.model_validate(good), tmp_path)
    assert (checked.lines, checked.relations[0]) == ([], ("whole", "contains", "front", 4))
    good["training"][0]["masks"]["front"]["segment"] = "front"
    assert one(good, tmp_path) == "error: x.seg.nrrd: no segment is called 'front'; has 'Front', 'Back'"
    moved[0, 3] += 0.4
    write_seg_nrrd(tmp_path / "x.seg.nrrd", cut, moved, ["front", "back"])
    assert one(good, tmp_path).startswith("error: x.seg.nrrd: its voxels are not those of its image")
