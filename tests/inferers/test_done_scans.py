"""What `conemos predict` finds done already, and what it makes anew."""

from __future__ import annotations

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
from conemos_bundle.files import publish
from conemos_bundle.inferers import saving
from conemos_bundle.predictor import Predictor
from conemos_bundle.volumes import read_volume
from monai.data import MetaTensor

from tests.inferers.failing import fails, truncate


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


def test_a_result_that_is_cut_is_made_again(scans: Path, run: Path, tmp_path: Path) -> None:
    predict(str(scans / "a.nii.gz"), model=str(run), output=str(tmp_path), output_format="seg.nrrd")
    whole = (tmp_path / "a.seg.nrrd").read_bytes()
    (tmp_path / "a.seg.nrrd").write_bytes(whole[:20])
    predict(str(scans / "a.nii.gz"), model=str(run), output=str(tmp_path), output_format="seg.nrrd")
    assert (tmp_path / "a.seg.nrrd").read_bytes() == whole


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


def test_channels_stand_in_the_order_asked_for(scans: Path, run: Path, tmp_path: Path) -> None:
    scan, out = scans / "a.nii.gz", tmp_path / "out"
    for asked in (["outer", "inner core"], ["inner core", "outer"]):
        predict(str(scan), model=str(run), output=str(out), regions=asked, output_format="multichannel")
        result = json.loads((out / "a_volumes.json").read_text())
        assert result["contents"][str(out / "a_regions.nii.gz")] == asked
        counts = nibabel.load(out / "a_regions.nii.gz").get_fdata().sum((0, 1, 2))
        assert counts.tolist() == [result["regions"][region]["voxels"] for region in asked]
        assert counts[0] != counts[1]


def test_sizes_are_those_of_the_masks_that_are_there(
    scans: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, out, other = scans / "a.nii.gz", tmp_path / "out", tmp_path / "other"
    shutil.copytree(run, other)
    weights = torch.load(other / "model.pt", weights_only=True)
    torch.save({name: tensor * 1.5 for name, tensor in weights.items()}, other / "model.pt")
    predict(str(scan), model=str(run), output=str(out), regions="outer")
    first = json.loads((out / "a_volumes.json").read_text())["regions"]["outer"]
    predict(str(scan), model=str(other), output=str(out), regions="outer", output_format="labelmap")
    assert json.loads((out / "a_volumes.json").read_text())["regions"]["outer"]["voxels"] != first["voxels"]
    assert predicted(scan, run, out, capsys)  # what is told of it is of the other model
    again = json.loads((out / "a_volumes.json").read_text())["regions"]["outer"]
    assert {name: again[name] for name in first} == first
    assert nibabel.load(out / "a" / "outer.nii.gz").get_fdata().sum() == again["voxels"]
    assert not predicted(scan, run, out, capsys)
