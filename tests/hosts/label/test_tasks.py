"""Training and proposals: what they read of the data store and of requests. The bundle itself runs."""

from __future__ import annotations

import json
import os
import types
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.hosts.label.answers import answer
from conemos_bundle.hosts.label.fine_tuning import add_to_history, read_history
from conemos_bundle.hosts.label.served_model import ServedModel

Label = types.SimpleNamespace
REGIONS = ["outer", "inner core"]


@pytest.fixture
def served(app_folder: Path) -> ServedModel:
    return ServedModel(app_folder / "model" / "tiny")


@pytest.fixture
def store(label: Label, tiny_dataset: Path) -> Any:
    return label.Folder({name: tiny_dataset / "images" / f"{name}.nii.gz" for name in ("test_0", "training_0")})


def annotate(store: Any, name: str, file: Path, value: int, shift: float = 0, **info: Any) -> np.ndarray:
    """Submit a label map of one value; returns its mask."""
    image = nibabel.load(store.images[name])
    mask = np.zeros(image.shape, np.uint8)
    mask[5:9, 4:7, 3:8] = value
    affine = image.affine.copy()
    affine[0, 3] += shift
    nibabel.save(nibabel.Nifti1Image(mask, affine), file)
    store.labels[name] = (file, info)
    return mask > 0


def test_a_served_model_segments_all_regions(served: ServedModel, scan: Path) -> None:
    found = served(str(scan))
    assert served.region_names == REGIONS and list(answer(found, REGIONS)["result"]["regions"]) == REGIONS
    assert answer(found, REGIONS)["masks"].shape == found.masks.shape == (2, 20, 18, 16)


@pytest.mark.parametrize("kind", ["Folder", "DICOMweb"])
def test_what_is_annotated(kind: str, label: Label, served: ServedModel, store: Any, tmp_path: Path) -> None:
    store = getattr(label, kind)(store.images)
    assert label.tasks.annotated_regions(served, store) == {}
    annotate(store, "test_0", tmp_path / "label.nii.gz", 2)
    assert label.tasks.annotated_regions(served, store) == {"test_0": ["inner core"]}
    annotate(store, "training_0", tmp_path / "other.nii.gz", 2, label_info=[{"name": "Outer", "idx": 2}])
    assert label.tasks.annotated_regions(served, store) == {"test_0": ["inner core"], "training_0": ["outer"]}


def test_a_label_that_cannot_be_read_is_left_out_with_a_line_in_the_log(
    label: Label, served: ServedModel, store: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    annotate(store, "test_0", tmp_path / "label.nii.gz", 1)
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")
    store.labels["training_0"] = (tmp_path / "broken.nii.gz", {})
    assert label.tasks.annotated_regions(served, store) == {"test_0": ["outer"]}
    assert [scan.name for scan in label.tasks.saved_annotations(served, store)] == ["test_0"]
    assert caplog.text.count("broken.nii.gz: cannot be read as an image") == 2


@pytest.mark.parametrize("kind", ["Folder", "DICOMweb"])
def test_what_training_gets_of_a_saved_label(
    kind: str, label: Label, served: ServedModel, store: Any, tmp_path: Path
) -> None:
    store = getattr(label, kind)(store.images)
    mask = annotate(store, "training_0", tmp_path / "label.nii.gz", 1)
    (saved,) = label.tasks.saved_annotations(served, store)
    image = nibabel.load(store.images["training_0"])
    assert (saved.name, saved.image) == ("training_0", str(store.images["training_0"]))
    np.testing.assert_allclose(saved.affine, image.affine, atol=1e-5)
    assert list(saved.masks) == ["outer"]  # the inner core is unknown, not empty
    np.testing.assert_array_equal(saved.masks["outer"], mask)
    predicted = served(str(store.images["training_0"])).masks
    assert list(saved.predicted) == REGIONS
    np.testing.assert_array_equal(np.stack(list(saved.predicted.values())), predicted)


def test_a_label_on_another_grid_and_a_scan_that_is_empty_are_left_out(
    label: Label, served: ServedModel, store: Any, tmp_path: Path, empty_scan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    annotate(store, "training_0", tmp_path / "shifted.nii.gz", 1, shift=0.7)
    store.images["empty"] = empty_scan
    annotate(store, "empty", tmp_path / "of_empty.nii.gz", 1)
    assert label.tasks.saved_annotations(served, store) == []
    assert "its voxels are not the scan's" in caplog.text and "all voxels are equal" in caplog.text


def test_scans_are_scored_once_a_model(label: Label, served: ServedModel, store: Any, empty_scan: Path) -> None:
    store.images["empty"], store.infos["empty"] = empty_scan, {}
    scoring = label.tasks.RegionScoring(served)
    assert scoring({"max_scans": 1}, store) == {"scored": 1, "left": 2}
    assert scoring({}, store) == {"scored": 2, "left": 0}
    assert scoring({}, store) == {"scored": 0, "left": 0}
    told = answer(served(str(store.images["test_0"])), REGIONS)["result"]["regions"]
    expected = {region: told[region]["confidence"] for region in REGIONS}
    assert store.infos["test_0"]["region_confidence"]["regions"] == expected
    assert store.infos["empty"]["region_confidence"]["regions"] == {}  # it is not tried again and again
    weights = served.models / "model.pt"
    os.utime(weights, (1, 1))  # another model
    assert scoring({"max_scans": 2}, store) == {"scored": 2, "left": 1}


def test_proposals_are_the_least_confident_that_nobody_annotated(
    label: Label, served: ServedModel, store: Any, tmp_path: Path
) -> None:
    label.tasks.RegionScoring(served)({}, store)
    scores = {"test_0": {"outer": 0.9, "inner core": 0.3}, "training_0": {"outer": 0.4, "inner core": 0.6}}
    for name, regions in scores.items():
        store.infos[name]["region_confidence"]["regions"] = regions
    strategy = label.tasks.LeastConfidentRegion(served)
    first = strategy({}, store)
    assert first == {
        "id": "test_0", "region": "inner core", "confidence": 0.3, "annotated": [], "not_scored": 0,
    }  # fmt: skip
    second = strategy({}, store)  # somebody is at the first
    assert (second["id"], second["region"]) == ("training_0", "outer")
    annotate(store, "training_0", tmp_path / "label.nii.gz", 2)
    third = strategy({}, store)
    assert (third["id"], third["region"], third["annotated"]) == ("test_0", "outer", [])


def test_scans_without_a_score_are_counted(label: Label, served: ServedModel, store: Any) -> None:
    strategy = label.tasks.LeastConfidentRegion(served)
    assert strategy({"max_scans": 0}, store) is None
    proposed = strategy({"max_scans": 1}, store)
    assert (proposed["id"], proposed["not_scored"]) == ("test_0", 1)


@pytest.mark.parametrize("task", ["RegionScoring", "LeastConfidentRegion"])
def test_a_number_of_scans_that_is_none_is_answered_with_400(
    task: str, label: Label, served: ServedModel, store: Any
) -> None:
    with pytest.raises(label.HTTPException, match="400: max_scans: give a number from"):
        getattr(label.tasks, task)(served)({"max_scans": "ten"}, store)


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        ({"max_epochs": "$1"}, "max_epochs: give a number from 1 to 100000"),
        ({"steps_per_epoch": 0}, "steps_per_epoch: give a number from 1 to 100000"),
        ({"learning_rate": 2}, "learning_rate: give a number from 0 to 1"),
        ({"val_split": -0.1}, "val_split: give a number from 0 to 1"),
        ({}, "annotate a scan and submit it first"),
    ],
)
def test_trainings_that_cannot_be_are_refused(
    request_: dict[str, Any], detail: str, label: Label, served: ServedModel, store: Any
) -> None:
    with pytest.raises(label.HTTPException) as refused:
        label.tasks.RegionTrainTask(served)(request_, store)
    assert refused.value.status_code == 400 and detail in refused.value.detail


@pytest.mark.parametrize(
    ("request_", "settings", "pretrained"),
    [
        ({}, (10, 50, 0.0001), True),
        ({"max_epochs": "3", "steps_per_epoch": 4, "learning_rate": 0.01, "pretrained": "false"}, (3, 4, 0.01), False),
    ],
)
def test_a_training_is_as_the_request_says_on_what_was_saved(
    request_: dict[str, Any],
    settings: tuple[int, int, float],
    pretrained: bool,
    label: Label,
    served: ServedModel,
    store: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[Any] = []

    def fine_tune(*arguments: Any, **options: Any) -> dict[str, Any]:  # the real one is tested on its own
        asked.extend([*arguments, options, json.loads((arguments[1] / "datalist.json").read_text())])
        return {"replaced": False, "reason": "not better"}

    monkeypatch.setattr(label.tasks, "fine_tune", fine_tune)
    for name in store.images:
        annotate(store, name, tmp_path / f"{name}.nii.gz", 2)
    label.tasks.RegionTrainTask(served)(request_, store)
    models, folder, unannotated, options, data = asked
    assert models == tmp_path / "app" / "model" / "tiny" / "models"
    told = dict(zip(("max_epochs", "steps_per_epoch", "learning_rate"), settings, strict=True))
    assert options == {"device": torch.device("cpu"), "pretrained": pretrained, **told}
    assert capsys.readouterr().out.endswith("kept: not better\n")
    (kept,) = (tmp_path / "app" / "training").iterdir()
    assert kept.name == folder.name and json.loads((kept / "datalist.json").read_text()) == data
    saved = {
        scan["subject"]: [region for region, mask in scan["masks"].items() if "saved/" in str(mask)]
        for scan in [*data["training"], *data["validation"]]
    }
    assert saved == {"test_0": ["inner core"], "training_0": ["inner core"]} and unannotated == ["outer"]


@pytest.mark.parametrize("seen", ["test_0", "training_0"])
def test_what_the_served_model_was_trained_on_trains_and_the_other_scan_judges(
    seen: str, label: Label, served: ServedModel, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists: list[Any] = []

    def fine_tune(_: Path, folder: Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        lists.extend(json.loads((folder / f"{name}.json").read_text()) for name in ("datalist", "holdout"))
        return {"replaced": False, "reason": ""}

    monkeypatch.setattr(label.tasks, "fine_tune", fine_tune)
    history = [{"replaced": True, "trained_on": [seen]}, {"replaced": False, "trained_on": ["test_0", "training_0"]}]
    (served.models / "history.json").write_text(json.dumps(history))
    for name in store.images:
        annotate(store, name, tmp_path / f"{name}.nii.gz", 2)
    label.tasks.RegionTrainTask(served)({}, store)
    data, judge = lists
    assert [scan["subject"] for scan in data["training"]] == [seen]
    assert [scan["subject"] for scan in judge["validation"]] == [name for name in store.images if name != seen]


def test_clients_see_the_last_training(label: Label, served: ServedModel) -> None:
    task = label.tasks.RegionTrainTask(served)
    assert task.stats() == {}
    (served.models / "history.json").write_text(json.dumps([{"replaced": True}, {"replaced": False}]))
    assert task.stats() == {"replaced": False}
    assert list(task.config()) == [
        "device", "max_epochs", "steps_per_epoch", "learning_rate", "val_split", "pretrained",
    ]  # fmt: skip


def test_a_history_that_is_torn_is_told_and_stops_trainings_alone(
    label: Label, served: ServedModel, store: Any
) -> None:
    task = label.tasks.RegionTrainTask(served)
    for text in ('[{"tim', '{"a": 1}', "[1]", "\x00"):
        (served.models / "history.json").write_text(text)
        assert "history.json: " in task.stats()["error"] and "\n" not in task.stats()["error"]
        with pytest.raises(label.HTTPException, match="400: .*history.json: "):
            task({}, store)
    assert answer(served(str(store.images["test_0"])), REGIONS)["result"]


def test_a_training_is_refused_in_the_servers_own_process(
    label: Label, served: ServedModel, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONEMOS_LABEL_SERVER", str(os.getpid()))
    with pytest.raises(label.HTTPException, match="400: a training needs a process of its own"):
        label.tasks.RegionTrainTask(served)({}, store)


def test_in_a_job_the_reason_is_the_last_line(
    label: Label, served: ServedModel, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[str]()

    def exit_with(error: Exception) -> None:
        told.append(str(error))
        raise SystemExit(1)

    monkeypatch.setattr(label.tasks, "exit_with", exit_with)
    monkeypatch.setenv("CONEMOS_LABEL_SERVER", "1")
    with pytest.raises(SystemExit):
        label.tasks.RegionTrainTask(served)({"max_epochs": "ten"}, store)
    assert told == ["max_epochs: give a number from 1 to 100000"]


def test_of_two_trainings_at_once_one_is_refused_and_nothing_is_left_of_it(
    label: Label, served: ServedModel, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fine_tune(models: Path, folder: Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        with pytest.raises(label.HTTPException) as refused:  # meanwhile
            label.tasks.RegionTrainTask(served)({}, store)
        assert refused.value.status_code == 400 and "another process is writing there" in refused.value.detail
        if options["pretrained"]:
            raise RuntimeError("it fails")
        entry = {"replaced": False, "reason": ""}
        add_to_history(models, entry)
        return entry

    monkeypatch.setattr(label.tasks, "fine_tune", fine_tune)
    annotate(store, "test_0", tmp_path / "label.nii.gz", 2)
    task = label.tasks.RegionTrainTask(served)
    with pytest.raises(RuntimeError):
        task({}, store)
    assert list((tmp_path / "app" / "training").iterdir()) == []
    for number in (1, 2):
        task({"pretrained": False}, store)
        assert len(read_history(served.models)) == number == len(list((tmp_path / "app" / "training").iterdir()))


@pytest.mark.parametrize(
    "told", [5, {"regions": 5}, {"regions": {"outer": "low"}}, {"served": {"outer": "$1"}}, {"model": "x"}]
)
def test_what_a_client_wrote_to_a_scan_stops_no_proposal(
    told: Any, label: Label, served: ServedModel, store: Any
) -> None:
    store.infos["test_0"]["region_confidence"] = told
    proposed = label.tasks.LeastConfidentRegion(served)({}, store)
    assert proposed["region"] in REGIONS and proposed["not_scored"] == 0
