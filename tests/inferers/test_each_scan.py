"""A batch of scans of which some cannot be segmented, through `conemos predict`: the run is that of inference.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.commands import predict
from conemos_bundle.errors import OutputError, find_user_error
from conemos_bundle.transforms import saving


@pytest.fixture
def scans(tiny_dataset: Path, tmp_path: Path) -> Path:
    """Three scans, no two alike."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, source in (("a", "test_0"), ("b", "training_0"), ("c", "validation_0")):
        shutil.copy(tiny_dataset / "images" / f"{source}.nii.gz", folder / f"{name}.nii.gz")
    return folder


def fails(*sources: Path, run: Path, output: Path, **options: str) -> str:
    with pytest.raises(Exception, match=".") as error:
        predict(*map(str, sources), model=str(run), output=str(output), **options)
    found = find_user_error(error.value)
    assert found is not None and "\n" not in str(found)
    return str(found)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


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


def test_what_is_done_is_not_done_again_but_by_another_model(
    scans: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(run, model)
    truncate(scans / "b.nii.gz")
    assert "1 of 3 scans were not segmented: b" in fails(scans, run=model, output=out, regions="outer")
    times = {name: (out / name / "outer.nii.gz").stat().st_mtime_ns for name in "ac"}
    shutil.copy(scans / "a.nii.gz", scans / "b.nii.gz")
    capsys.readouterr()
    predict(str(scans), model=str(model), output=str(out), regions="outer")
    assert "a: done already\nc: done already\n" in capsys.readouterr().out
    assert times == {name: (out / name / "outer.nii.gz").stat().st_mtime_ns for name in "ac"}
    assert (out / "b" / "outer.nii.gz").is_file()
    predict(str(scans), model=str(model), output=str(out), regions="outer", resume=False)
    assert times["a"] < (out / "a" / "outer.nii.gz").stat().st_mtime_ns
    weights = torch.load(model / "model.pt", weights_only=True)
    torch.save({name: tensor * 1.1 for name, tensor in weights.items()}, model / "model.pt")
    capsys.readouterr()
    predict(str(scans), model=str(model), output=str(out), regions="outer")
    assert "done already" not in capsys.readouterr().out
