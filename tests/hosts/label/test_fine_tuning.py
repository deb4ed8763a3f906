"""Training a served model further: what replaces it, and what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conemos_bundle.hosts.label import fine_tuning
from conemos_bundle.hosts.label.fine_tuning import (
    fine_tune,
    mean_dice,
    read_history,
    replace_model,
    trained_on,
    verdict,
)


@pytest.mark.parametrize(
    ("before", "after", "unannotated", "replaced"),
    [
        ({"a": 0.8, "b": 0.6}, {"a": 0.7, "b": 0.8}, [], True),  # the mean counts
        ({"a": 0.8}, {"a": 0.8}, [], False),
        ({"a": 0.8}, {"a": 0.7}, [], False),
        ({"a": 0.8}, {"a": float("nan")}, [], False),
        ({"a": 0.8}, {}, [], False),
        ({"a": 0.8, "b": 1.0}, {"a": 0.9, "b": 0.85}, ["b"], True),  # b's masks are the old model's own
        ({"a": 0.8, "b": 1.0}, {"a": 0.9, "b": 0.5}, ["b"], False),  # b is forgotten
    ],
)
def test_verdict(before: dict[str, float], after: dict[str, float], unannotated: list[str], replaced: bool) -> None:
    yes, reason = verdict(before, after, unannotated, ["scan_1", "scan_2"])
    assert yes is replaced
    assert ("annotate it in scan_1 or scan_2" in reason) is (after.get("b") == 0.5)


def test_the_old_model_is_kept_where_clients_do_not_see_it(run: Path, tmp_path: Path) -> None:
    models, new = tmp_path / "app" / "models", tmp_path / "new"
    record = json.loads((run / "run.json").read_text())
    for folder, temperature in ((models, 0.5), (new, 1.75)):
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(folder.name.encode())
        (folder / "run.json").write_text(json.dumps({**record, "temperature": temperature}))
    entry = {"time": "20260102-030405", "replaced": True, "reason": "better"}
    replace_model(models, new / "model.pt", entry)
    assert (models / "model.pt").read_bytes() == b"new"
    assert json.loads((models / "run.json").read_text()) == {**record, "temperature": 1.75}  # of the new weights
    assert read_history(models) == [entry]
    backup = Path(entry["backup"])
    assert backup == models / "backup" / "model_20260102-030405.pt" and backup.read_bytes() == b"models"
    assert json.loads((backup.parent / "run_20260102-030405.json").read_text())["temperature"] == 0.5
    assert [file.name for file in models.glob("*.pt")] == ["model.pt"]


def test_regions_may_be_named_like_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = "scan,subject,region,dice,sd95_mm,sd95_voxels,reference_ml,predicted_ml\n"
    values = [("s", "1", "0.5"), ("s", "null", "0.25"), ("t", "null", ""), ("s", "1e3", "1"), ("s", "absent", "")]
    rows = header + "".join(f"{scan},{scan},{region},{dice},,,,\n" for scan, region, dice in values)
    monkeypatch.setattr(
        fine_tuning, "run_training_config", lambda *_, **__: (tmp_path / "per_scan.csv").write_text(rows)
    )
    means = mean_dice(tmp_path / "model.pt", tmp_path / "holdout.json", tmp_path, torch.device("cpu"))
    assert means == {"1": 0.5, "1e3": 1.0, "null": 0.25}


@pytest.mark.parametrize("better", [True, False])
def test_a_short_training(
    better: bool, finished_models: Path, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, training_set = tmp_path / "models", tmp_path / "set"
    shutil.copytree(finished_models, models)
    training_set.mkdir()
    data = json.loads((tiny_dataset / "datalist.json").read_text())
    del data["test"]
    for split in ("training", "validation"):
        for scan in data[split]:
            scan["image"] = str(tiny_dataset / scan["image"])
            for region, mask in scan["masks"].items():
                file = {"file": mask} if isinstance(mask, str) else mask
                scan["masks"][region] = {**file, "file": str(tiny_dataset / file["file"])}
    for name in ("datalist", "holdout"):
        (training_set / f"{name}.json").write_text(json.dumps(data))
    old = (models / "model.pt").read_bytes()
    if better:  # whatever one step does, it shall count as better
        monkeypatch.setattr("conemos_bundle.hosts.label.fine_tuning.verdict", lambda *_: (True, "better"))
    else:
        monkeypatch.setattr("conemos_bundle.hosts.label.fine_tuning.verdict", lambda *_: (False, "worse"))
    entry = fine_tune(models, training_set, [], torch.device("cpu"), 1, 1, 1e-3)
    assert entry["replaced"] is better and set(entry["before"]) == {"outer", "inner core"} == set(entry["after"])
    assert read_history(models) == [entry]
    assert trained_on(models) == ({scan["subject"] for scan in data["training"]} if better else set())
    new = (models / "model.pt").read_bytes()
    assert (new != old) is better
    if better:
        assert Path(entry["backup"]).read_bytes() == old
        weights, before = (torch.load(file, weights_only=True) for file in (models / "model.pt", entry["backup"]))
        moved = max(float((weights[name] - before[name]).abs().max()) for name in weights)
        assert 0 < moved < 0.01  # one step of Adam from the old weights, not from random ones
    assert not (training_set / "cache").exists()
