"""A batch of scans of which some cannot be segmented, through `conemos predict`."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conemos_bundle.cli import predict
from conemos_bundle.errors import OutputError, find_user_error
from conemos_bundle.files import publish
from conemos_bundle.inferers import saving

from tests.inferers.failing import fails, truncate


def holes(file: Path) -> None:
    image = nibabel.load(file)
    voxels = image.get_fdata(dtype=np.float32)
    voxels[3, 3, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), file)


def text(file: Path) -> None:
    file.write_text("this is no image")


@pytest.mark.parametrize("spoil", [truncate, holes, text])
@pytest.mark.parametrize("which", ["a", "b", "c"])
def test_the_others_are_segmented_as_if_they_were_alone(
    spoil, which: str, scans: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(scans / f"{which}.nii.gz")
    message = fails(scans, run=run, output=tmp_path / "out")
    printed = capsys.readouterr()
    assert message == f"1 of 3 scans were not segmented: {which}"
    lines = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and f"{which}.nii.gz" in lines[0]
    table = [line.split() for line in printed.out.splitlines()[-3:]]
    assert table == [[name, "FAILED" if name == which else "segmented"] for name in "abc"]
    assert "Traceback" not in printed.err + printed.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        name for scan in "abc" if scan != which for name in (scan, f"{scan}_volumes.json")
    )
    for name in set("abc") - {which}:
        predict(str(scans / f"{name}.nii.gz"), model=str(run), output=str(tmp_path / "alone"))
        for region in ("outer", "inner core"):
            batch, alone = (nibabel.load(tmp_path / f / name / f"{region}.nii.gz") for f in ("out", "alone"))
            np.testing.assert_array_equal(batch.get_fdata(), alone.get_fdata())


def test_all_broken_and_one_alone(scans: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in scans.iterdir():
        truncate(file)
    assert fails(scans, run=run, output=tmp_path / "out") == "3 of 3 scans were not segmented: a, b, c"
    capsys.readouterr()
    assert "a.nii.gz" in fails(scans / "a.nii.gz", run=run, output=tmp_path / "out")
    assert "error: " not in capsys.readouterr().err  # the caller prints it, once
    assert not (tmp_path / "out").exists()


def test_a_scan_whose_result_cannot_be_written_in_that_format(scans: Path, run: Path, tmp_path: Path) -> None:
    image = nibabel.load(scans / "b.nii.gz")
    sheared = image.affine.copy()
    sheared[0, 1] = 0.5
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), sheared), scans / "b.nii.gz")
    message = fails(scans, run=run, output=tmp_path / "out", output_format="seg.nrrd")
    assert message == "1 of 3 scans were not segmented: b"
    assert {path.name for path in (tmp_path / "out").glob("*.seg.nrrd")} == {"a.seg.nrrd", "c.seg.nrrd"}


def test_where_nothing_can_be_written_it_ends_at_once(
    scans: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def full(*_: object) -> None:
        tried.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "_write_json", full)
    with pytest.raises(Exception, match=".") as error:
        predict(str(scans), model=str(run), output=str(tmp_path / "out"))
    assert isinstance(find_user_error(error.value), OutputError)
    assert "No space left on device" in str(find_user_error(error.value))
    assert len(tried) == 1


def test_each_run_speaks_of_its_own_scans_and_regions(
    scans: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    predict(str(scans / "a.nii.gz"), regions="outer", model=str(run), output=str(out))
    first = json.loads((out / "a_volumes.json").read_text())["regions"]
    capsys.readouterr()
    predict(str(scans / "b.nii.gz"), regions="outer", model=str(run), output=str(out))
    assert "a.nii.gz" not in capsys.readouterr().out
    predict(str(scans / "a.nii.gz"), regions="inner core", model=str(run), output=str(out))
    assert "outer" not in capsys.readouterr().out
    result = json.loads((out / "a_volumes.json").read_text())
    assert list(result["regions"]) == ["outer", "inner core"] and result["regions"]["outer"] == first["outer"]
    assert sorted(result["outputs"]) == sorted(str(file) for file in (out / "a").iterdir())
    (out / "a" / "outer.nii.gz").unlink()
    predict(str(scans / "a.nii.gz"), regions="inner core", model=str(run), output=str(out))
    assert list(json.loads((out / "a_volumes.json").read_text())["regions"]) == ["inner core"]


def test_another_scan_of_the_same_name_is_refused(scans: Path, run: Path, tmp_path: Path) -> None:
    predict(str(scans / "a.nii.gz"), regions="outer", model=str(run), output=str(tmp_path / "out"))
    (tmp_path / "other").mkdir()
    shutil.copy(scans / "b.nii.gz", tmp_path / "other" / "a.nii.gz")
    before = (tmp_path / "out" / "a" / "outer.nii.gz").read_bytes()
    message = fails(tmp_path / "other" / "a.nii.gz", run=run, output=tmp_path / "out", regions="inner core")
    assert "are of another scan" in message and str(scans / "a.nii.gz") in message
    assert (tmp_path / "out" / "a" / "outer.nii.gz").read_bytes() == before
    assert not (tmp_path / "out" / "a" / "inner core.nii.gz").exists()


def test_two_formats_in_one_folder_are_both_listed(scans: Path, run: Path, tmp_path: Path) -> None:
    out, scan = tmp_path / "out", str(scans / "a.nii.gz")
    predict(scan, regions="outer", model=str(run), output=str(out))
    predict(scan, model=str(run), output=str(out), output_format="labelmap")
    result = json.loads((out / "a_volumes.json").read_text())
    assert result["contents"] == {
        str(out / "a" / "outer.nii.gz"): ["outer"], str(out / "a_labelmap.nii.gz"): ["outer", "inner core"],
    }  # fmt: skip
    assert {region: size["value"] for region, size in result["regions"].items()} == {"outer": 1, "inner core": 2}


def test_what_may_not_be_read_or_written_is_of_one_scan_alone(
    scans: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (scans / "dicom").mkdir()
    out, access = tmp_path / "out", os.access
    closed = {scans / "dicom", scans / "c.nii.gz"}
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) not in closed and access(path, mode))

    def forbid(source: Path, target: Path) -> None:
        if target.parent.name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(source), None, str(target))
        publish(source, target)

    monkeypatch.setattr("conemos_bundle.inferers.saving.publish", forbid)
    assert fails(scans, run=run, output=out, regions="outer").startswith("3 of 4 scans were not segmented: b, c, dicom")
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors == [
        f"error: {out / 'b' / 'outer.nii.gz'}: cannot be written (no permission, or read-only); remove it",
        *(f"error: {scans / name}: no permission to read it" for name in ("c.nii.gz", "dicom")),
    ]
    assert (out / "a" / "outer.nii.gz").is_file()


@pytest.mark.parametrize("output_format", ["labelmap", "multichannel", "seg.nrrd", "files"])
def test_results_beside_the_scans_are_no_scans(
    output_format: str, scans: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        capsys.readouterr()
        predict(str(scans), model=str(run), output=str(scans), output_format=output_format)
    assert capsys.readouterr().out.splitlines() == [
        "a: done already", "b: done already", "c: done already", "nothing to do: all scans are done",
    ]  # fmt: skip


def test_names_that_cannot_be_written_are_of_one_scan_alone(
    scans: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    good = (scans / "a.nii.gz").read_bytes()
    for name in ("x" * 246, "two\nlines\x1b[31m"):
        (scans / f"{name}.nii.gz").write_bytes(good if "x" in name else b"")
    Path(os.fsdecode(bytes(scans) + b"/\xff.nii.gz")).write_bytes(good)
    (out / "b_volumes.json").mkdir(parents=True)
    (out / "c").write_text("in the way")
    told = fails(scans, run=run, output=out, regions="outer")
    assert told.startswith("5 of 6 scans were not segmented: b, c, two\\nlines\\x1b[31m, ")
    shown = capsys.readouterr()
    errors = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 5 and all("rename" in line or "lines" in line for line in errors)
    assert [line.split()[-1] for line in shown.out.splitlines() if line.endswith(("FAILED", "segmented"))] == [
        "segmented", *["FAILED"] * 5,
    ]  # fmt: skip
    assert "\x1b" not in shown.err + shown.out
    assert sorted(file.name for file in out.iterdir()) == ["a", "a_volumes.json", "b_volumes.json", "c"]
