"""A batch of scans of which some cannot be segmented, through `conemos predict`."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.cli import predict
from conemos_bundle.errors import OutputError, find_user_error
from conemos_bundle.files import publish
from conemos_bundle.inferers import saving
from conemos_bundle.predictor import Predictor
from conemos_bundle.volumes import read_volume
from monai.data import MetaTensor


@pytest.fixture
def scans(tiny_dataset: Path, tmp_path: Path) -> Path:
    """Three scans, no two alike."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, source in (("a", "test_0"), ("b", "training_1"), ("c", "training_2")):
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


def predicted(scan: Path, run: Path, out: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> bool:
    """Whether a scan was segmented, and not left out as done already."""
    capsys.readouterr()
    predict(str(scan), model=str(run), output=str(out), regions="outer", **options)
    return "done already" not in capsys.readouterr().out


@pytest.mark.parametrize("change", ["regions", "network", "content", "voxels of a header", "other regions alone"])
def test_whatever_a_mask_depends_on_is_noticed(
    change: str, scans: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out, scan = tmp_path / "run", tmp_path / "out", scans / "a.nii.gz"
    shutil.copytree(run, model)
    if "header" in change or change == "content":
        scan = tmp_path / ("a.mhd" if "header" in change else "a.nii")
        itk.imwrite(itk.imread(str(scans / "a.nii.gz"), itk.F), str(scan))
    assert predicted(scan, model, out, capsys) and not predicted(scan, model, out, capsys)
    record = json.loads((model / "run.json").read_text())
    times = os.stat(scan).st_atime_ns, os.stat(scan).st_mtime_ns
    if change == "regions":
        record["regions"].reverse()
    elif change == "network":
        record["network"]["skip"] = "first_conv"
    elif change == "content":  # of the same size, at the same time
        header, voxels = scan.read_bytes()[:352], np.frombuffer(scan.read_bytes()[352:], np.float32)
        scan.write_bytes(header + voxels[::-1].tobytes())
        os.utime(scan, ns=times)
    elif change == "voxels of a header":
        file = tmp_path / "a.raw"
        file.write_bytes(np.frombuffer(file.read_bytes(), np.float32)[::-1].tobytes())
    else:
        record["settings"]["note"] = "no mask depends on it"
    (model / "run.json").write_text(json.dumps(record))
    assert predicted(scan, model, out, capsys) is (change != "other regions alone")


def test_a_model_that_is_replaced_amid_a_batch_is_not_mixed_in(
    scans: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "run"
    shutil.copytree(run, model)
    predict(str(scans), model=str(model), output=str(tmp_path / "expected"), regions="outer")
    segment = Predictor.__call__

    def train_meanwhile(*arguments: Any, **options: Any) -> Any:
        output = segment(*arguments, **options)
        weights = torch.load(model / "model.pt", weights_only=True)
        torch.save({name: tensor * 1.5 for name, tensor in weights.items()}, model / "model.pt")
        return output

    monkeypatch.setattr(Predictor, "__call__", train_meanwhile)
    predict(str(scans), model=str(model), output=str(tmp_path / "out"), regions="outer")
    for name in "abc":
        first, second = (nibabel.load(tmp_path / f / name / "outer.nii.gz") for f in ("expected", "out"))
        np.testing.assert_array_equal(first.get_fdata(), second.get_fdata())


def test_a_scan_that_changes_while_it_is_read_is_refused(
    scans: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(path: str) -> Any:
        volume = read_volume(path)
        os.utime(path, ns=(0, 0))
        return volume

    monkeypatch.setattr("conemos_bundle.transforms.loading.read_volume", change)
    assert fails(scans / "a.nii.gz", run=run, output=scans / "out").endswith(
        "a.nii.gz: changed while it was read; start again"
    )


def test_masks_of_two_models_after_a_kill_are_made_again(
    scans: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, out, scan = tmp_path / "run", tmp_path / "out", str(scans / "a.nii.gz")
    shutil.copytree(run, other)
    weights = torch.load(other / "model.pt", weights_only=True)
    torch.save({name: tensor * 1.5 for name, tensor in weights.items()}, other / "model.pt")
    predict(scan, model=str(run), output=str(out))
    whole = (out / "a" / "outer.nii.gz").read_bytes()
    published: list[Path] = []

    def killed(source: Path, target: Path) -> None:
        if published:
            raise KeyboardInterrupt
        published.append(target)
        publish(source, target)

    monkeypatch.setattr("conemos_bundle.inferers.saving.publish", killed)
    with pytest.raises(KeyboardInterrupt):
        predict(scan, model=str(other), output=str(out))
    monkeypatch.undo()
    capsys.readouterr()
    predict(scan, model=str(run), output=str(out))
    assert "done already" not in capsys.readouterr().out
    assert (out / "a" / "outer.nii.gz").read_bytes() == whole


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


def test_a_result_that_is_cut_is_made_again(scans: Path, run: Path, tmp_path: Path) -> None:
    predict(str(scans / "a.nii.gz"), model=str(run), output=str(tmp_path), output_format="seg.nrrd")
    whole = (tmp_path / "a.seg.nrrd").read_bytes()
    (tmp_path / "a.seg.nrrd").write_bytes(whole[:20])
    predict(str(scans / "a.nii.gz"), model=str(run), output=str(tmp_path), output_format="seg.nrrd")
    assert (tmp_path / "a.seg.nrrd").read_bytes() == whole


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


def test_two_models_at_once_leave_masks_and_sizes_of_one(
    scans: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, out = str(scans / "a.nii.gz"), tmp_path / "out"
    entered: list[str] = []

    def slowly(source: Path, target: Path) -> None:
        entered.append(threading.current_thread().name)
        time.sleep(0.05)
        publish(source, target)

    monkeypatch.setattr("conemos_bundle.inferers.saving.publish", slowly)
    masks = torch.zeros(2, 4, 4, 4)
    savers = [
        saving.SaveImageRegionsd(region_names=["outer", "inner core"], regions=regions, output_dir=out)
        for regions in (["outer"], ["outer", "inner core"], ["inner core"])
    ]
    threads = []
    for voxels, saver in enumerate(savers, 1):
        prediction = masks[: len(saver.regions)].clone()
        prediction.flatten(1)[:, :voxels] = 1
        item = {"pred": MetaTensor(prediction, meta={"filename_or_obj": scan}), "name": "a"}
        threads.append(threading.Thread(target=saver, args=(item,), name=f"saver {voxels}"))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(entered) == 7 and len([k for k in range(6) if entered[k] != entered[k + 1]]) == 2  # one after the other
    told = json.loads((out / "a_volumes.json").read_text())
    assert set(told["regions"]) == {"outer", "inner core"}
    for region, size in told["regions"].items():
        assert np.count_nonzero(nibabel.load(out / "a" / f"{region}.nii.gz").get_fdata()) == size["voxels"]


def test_an_output_folder_with_dots_is_the_folder(
    scans: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    scan, out = scans / "a.nii.gz", Path("../out/./x/..")
    assert predicted(scan, run, out, capsys) and not predicted(scan, run, out, capsys)
    predict(str(scan), model=str(run), output=str(out), regions="inner core")
    assert set(json.loads((tmp_path / "out" / "a_volumes.json").read_text())["regions"]) == {"outer", "inner core"}
