"""An evaluation of scans of which some cannot be evaluated, through `conemos evaluate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from conemos_bundle.cli import evaluate, pack, report
from conemos_bundle.errors import UserError, find_user_error
from conemos_bundle.evaluation import each_scan
from conemos_bundle.evaluation import report as evaluation_report
from conemos_bundle.files import publish


@pytest.fixture
def data(tiny_dataset: Path, tmp_path: Path) -> Path:
    """The tiny data set, all of it as its test split."""
    folder = tmp_path / "data"
    shutil.copytree(tiny_dataset, folder)
    listed = json.loads((folder / "datalist.json").read_text())
    listed["test"] += listed["training"] + listed["validation"]
    listed["training"] = listed["validation"] = []
    (folder / "datalist.json").write_text(json.dumps(listed))
    return folder


def evaluated(data: Path, run: Path, folder: Path) -> str:
    """The error of an evaluation, empty where there is none."""
    try:
        evaluate(str(data / "datalist.json"), run=str(run), evaluation_dir=str(folder))
    except Exception as error:
        found = find_user_error(error)
        assert found is not None and "\n" not in str(found)
        return str(found)
    return ""


def test_a_bad_scan_does_not_end_the_others_and_what_is_done_is_not_done_again(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluated(data, run, tmp_path / "whole") == ""
    assert not (tmp_path / "whole" / ".scans").exists()
    bad = {name: data / "images" / f"{name}.nii.gz" for name in ("training_0", "training_1", "validation_0")}
    good = {name: file.read_bytes() for name, file in bad.items()}
    bad["training_0"].write_bytes(good["training_0"][:500])
    bad["training_1"].unlink()
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 18, 16), np.float32), np.eye(4)), bad["validation_0"])
    capsys.readouterr()
    told = evaluated(data, run, tmp_path / "parts")
    assert told.startswith("3 of 7 scans were not evaluated: training_0, training_1, validation_0;")
    shown = capsys.readouterr()
    assert [line.split(":")[1].strip() for line in shown.err.splitlines() if line.startswith("error: ")] == [
        str(file) for file in bad.values()
    ]
    table = [line.split() for line in shown.out.splitlines() if line.endswith(("evaluated", "FAILED"))]
    assert dict(table) == {
        **dict.fromkeys(["test_0", "training_2", "training_3", "validation_1"], "evaluated"),
        **dict.fromkeys(bad, "FAILED"),
    }
    summary = json.loads((tmp_path / "parts" / "summary.json").read_text())
    assert list(summary["failed"]) == list(bad) and str(bad["training_1"]) in summary["failed"]["training_1"]
    rows, whole = (pd.read_csv(tmp_path / folder / "per_scan.csv") for folder in ("parts", "whole"))
    pd.testing.assert_frame_equal(rows, whole[~whole["scan"].isin(bad)].reset_index(drop=True))

    for name, file in bad.items():
        file.write_bytes(good[name])
    run_scan, ran = each_scan.run_scan, []
    monkeypatch.setattr(each_scan, "run_scan", lambda *args: (ran.append(args[2]["name"]), run_scan(*args)))
    assert evaluated(data, run, tmp_path / "parts") == ""
    assert ran == list(bad)
    files = sorted(file.name for file in (tmp_path / "whole").iterdir() if file.name != ".lock")
    assert files == sorted(file.name for file in (tmp_path / "parts").iterdir() if file.name != ".lock")
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes(), file


def test_what_has_changed_is_evaluated_again(
    data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "images" / "training_0.nii.gz").write_bytes(b"")
    assert "1 of 7" in evaluated(data, run, tmp_path / "out")
    run_scan, ran = each_scan.run_scan, []
    monkeypatch.setattr(each_scan, "run_scan", lambda *args: (ran.append(args[2]["name"]), run_scan(*args)))
    mask = next((data / "labels").glob("training_3*"))
    nibabel.save(nibabel.load(next((data / "labels").glob("training_2*"))), mask)
    kept = next((tmp_path / "out" / ".scans").glob("*.npz"))
    kept.write_bytes(b"torn")
    assert "1 of 7" in evaluated(data, run, tmp_path / "out")
    assert len(ran) == 3 and {"training_0", "training_3"} <= set(ran)


def test_a_partial_evaluation_is_no_result(data: Path, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (data / "images" / "training_0.nii.gz").write_bytes(b"")
    assert "1 of 7" in evaluated(data, folder, folder / "evaluation_test")
    with pytest.raises(UserError, match="1 scans could not be evaluated: no result of the test split"):
        pack(str(folder), str(tmp_path / "bundle"))
    with pytest.raises(UserError, match="no finished and evaluated run"):
        report(str(folder), str(tmp_path / "report"))


def test_an_evaluation_belongs_to_its_weights(data: Path, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert evaluated(data, folder, folder / "evaluation_test") == ""
    weights = torch.load(folder / "model.pt", weights_only=True)
    torch.save({name: tensor * 1.5 for name, tensor in weights.items()}, folder / "model.pt")
    for command in (
        lambda: pack(str(folder), str(tmp_path / "bundle")),
        lambda: report(str(folder), str(tmp_path / "r")),
    ):
        with pytest.raises(UserError, match=r"summary\.json: of other weights than .*model\.pt; evaluate again"):
            command()
    assert not (tmp_path / "bundle").exists() and not (tmp_path / "r").exists()


def test_an_evaluation_that_is_cut_while_it_replaces_another_is_none(
    data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "evaluation"
    assert evaluated(data, run, folder) == ""
    (folder / "montage_eyes.png").write_text("of an evaluation of other regions")
    files = {file.name for file in folder.iterdir()}

    def cut(part: Path, path: Path) -> None:
        if path.name == "summary.md":
            raise KeyboardInterrupt
        publish(part, path)

    monkeypatch.setattr(evaluation_report, "publish", cut)
    with pytest.raises(KeyboardInterrupt):
        evaluate(str(data / "datalist.json"), run=str(run), evaluation_dir=str(folder))
    assert not (folder / "per_scan.csv").exists() and not (folder / "summary.json").exists()
    monkeypatch.undo()
    assert evaluated(data, run, folder) == ""
    assert {file.name for file in folder.iterdir()} == files - {"montage_eyes.png"}
