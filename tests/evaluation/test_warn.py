from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conemos_bundle.cli import evaluate
from conemos_bundle.data.datalist import Datalist, read_datalist
from conemos_bundle.evaluation import warn_of_run
from conemos_bundle.runs.subjects import SUBJECTS, subject_hash


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture
def data(tiny_dataset: Path) -> Datalist:
    return read_datalist(tiny_dataset / "datalist.json")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "conemos_bundle.evaluation.warn"]


def test_new_scans_and_a_whole_run_are_no_reason(
    folder: Path, data: Datalist, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_run(folder / "model.pt", data, "test")
    assert lines(caplog) == []


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ("training", "4 of 4 training scans are of subjects that the run was trained on"),
        ("validation", "2 of 2 validation scans are of subjects that the run was chosen on"),
    ],
)
def test_scans_that_the_run_has_seen(
    split: str, told: str, folder: Path, data: Datalist, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_run(folder / "model.pt", data, split, rank=1)
    assert lines(caplog) == []  # one process is enough
    warn_of_run(folder / "model.pt", data, split)
    assert lines(caplog) == [f"{folder}: {told}; their Dice says little about new scans"]


def test_another_split_of_the_same_subjects(folder: Path, data: Datalist, caplog: pytest.LogCaptureFixture) -> None:
    scans = [*data.test, data.training[0], data.validation[0]]
    warn_of_run(folder / "model.pt", data.model_copy(update={"test": scans, "training": []}), "test")
    (line,) = lines(caplog)
    assert "1 of 3 test scans are of subjects that the run was trained on, 1 of 3 test scans" in line


def test_a_run_that_does_not_say_whom_it_has_seen(
    folder: Path, data: Datalist, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / SUBJECTS).unlink()
    warn_of_run(folder / "model.pt", data, "test")
    assert lines(caplog) == []
    warn_of_run(folder / "model.pt", data, "validation")
    assert "the validation scans are not new to the run, if it was chosen with this datalist" in lines(caplog)[0]


def test_a_run_that_has_seen_more_than_it_says(folder: Path, data: Datalist, caplog: pytest.LogCaptureFixture) -> None:
    """As one that was taught a region, where the model that it grew from does not say."""
    hashes = [subject_hash(scan.subject) for scan in data.training]
    said = {"training": hashes[:1], "complete": False}
    (folder / SUBJECTS).write_text(json.dumps(said))
    for split in ("training", "validation", "test"):
        warn_of_run(folder / "model.pt", data, split)
    trained, chosen = lines(caplog)
    assert "at least 1 of 4 training scans are of subjects that the run was trained on" in trained
    assert "the validation scans are not new to the run, if it was chosen with this datalist" in chosen


@pytest.mark.parametrize(
    ("settings", "checkpoint", "warns"),
    [
        ({"max_epochs": 20}, {"epoch": 3}, True),
        ({"max_epochs": 20}, {"epoch": 20}, False),
        ({"max_epochs": 20, "minutes": 5.0}, {"epoch": 3}, False),  # until the time was up
        ({"seed": 0}, {"epoch": 3}, False),
        ({"max_epochs": 20}, {"epoch": "3"}, False),
        ({"max_epochs": 20}, None, False),  # a run that was copied without it, or a damaged one
    ],
)
def test_a_run_that_is_not_finished(
    settings: dict, checkpoint: dict | None, warns: bool, folder: Path, data: Datalist, caplog: pytest.LogCaptureFixture
) -> None:
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "settings": settings}))
    (folder / "checkpoint.pt").write_bytes(b"damaged")
    if checkpoint is not None:
        torch.save({**checkpoint, "network": {"weight": torch.zeros(3)}}, folder / "checkpoint.pt")
    warn_of_run(folder / "model.pt", data, "test")
    told = [f"{folder}: not finished, 3 of 20 epochs are done; the same 'conemos train' goes on"]
    assert lines(caplog) == (told if warns else [])


def test_the_command_warns(tiny_dataset: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(str(tiny_dataset / "datalist.json"), run=str(folder), split="validation", device="cpu")
    assert capsys.readouterr().out.count("2 of 2 validation scans are of subjects that the run was chosen on") == 1
