"""A served model is taught a region that annotators drew: what is served then, and what is not."""

from __future__ import annotations

import json
import shutil
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label import new_region, together
from conemos_bundle.hosts.label.app_folder import write_app
from conemos_bundle.hosts.label.fine_tuning import fine_tune, read_history, trained_on
from conemos_bundle.hosts.label.new_region import asked_region, teach
from conemos_bundle.hosts.label.served_model import ServedModel
from conemos_bundle.hosts.label.training_set import Saved, write_training_set
from conemos_bundle.predictor import Predictor
from conemos_bundle.runs.metadata import read_metadata
from conemos_bundle.runs.run import read_record

from tests.hosts.label.test_tasks import annotate
from tests.workflows import left_as_it_was

Label = types.SimpleNamespace
OLD = ["outer", "inner core"]
NEW = [*OLD, "kernel"]
SHORT: dict[str, Any] = {"device": torch.device("cpu"), "max_epochs": 1, "steps_per_epoch": 2}
NAMES = ("training_0", "training_1", "test_0")


def training_set(folder: Path, tiny_dataset: Path, regions: Sequence[str] = ("kernel",)) -> Path:
    """Three scans in which a box is drawn, and that is each of the regions."""
    saved = []
    for name in NAMES:
        image = tiny_dataset / "images" / f"{name}.nii.gz"
        mask = np.zeros(nibabel.load(image).shape, np.uint8)
        mask[5:12, 4:12, 3:12] = 1
        saved.append(Saved(name, str(image), nibabel.load(image).affine, dict.fromkeys(regions, mask), {}))
    folder.mkdir(parents=True)
    assert write_training_set(folder, saved, regions, [2.0, 2.0, 2.0], 0.2) == []
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "history.json"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if "conemos_bundle" not in path.parts}


@pytest.fixture(scope="module")
def taught(
    bundle: Path, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """An app whose model ``tiny`` was taught ``kernel``, and the entry in its history."""
    folder = tmp_path_factory.mktemp("taught")
    (model,) = write_app(bundle, folder / "app", "tiny")
    with left_as_it_was():
        entry = teach(
            model, training_set(folder / "app" / "training" / "set", tiny_dataset), "kernel", least_dice=0.0, **SHORT
        )
        yield folder / "app", entry


@pytest.fixture
def app(taught: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(taught[0], tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_old_regions_are_predicted_as_before_and_the_new_one_as_it_was_learned(
    taught: tuple[Path, dict[str, Any]], bundle: Path, scan: Path
) -> None:
    model = taught[0] / "model" / "tiny"
    before, after = (Predictor.load(folder, "cpu", mode=None) for folder in (bundle, model))
    assert after.regions == NEW
    for asked in (["outer"], OLD, OLD[::-1]):
        old, new = (predictor(scan, asked, probabilities=True) for predictor in (before, after))
        assert np.array_equal(old.probabilities, new.probabilities) and old.masks.any()
    learned = Predictor.load(taught[0] / "training" / "set" / "grown" / "training", "cpu", mode=None)(scan)
    assert np.array_equal(learned["kernel"], after(scan, ["kernel", *OLD])["kernel"])


def test_what_was_written(taught: tuple[Path, dict[str, Any]], bundle: Path) -> None:
    model, entry = taught[0] / "model" / "tiny", taught[1]
    models = model / "models"
    assert read_metadata(model / "configs" / "metadata.json")[1] == NEW == read_record(models / "model.pt").regions
    config = json.loads((model / "configs" / "inference.json").read_text())
    assert config["region_names"] == NEW and config["network_def"]["_target_"].endswith("GrownUNet")
    assert read_history(models) == [entry] and entry["replaced"] and entry["region"] == "kernel"
    assert trained_on(models) == set(entry["trained_on"]) < set(NAMES) and set(entry["after"]) == {"kernel"}
    assert Path(entry["backup"]).read_bytes() == (bundle / "models" / "model.pt").read_bytes()
    record = Path(entry["backup"]).with_name(f"run_{entry['time']}.json")
    assert record.read_bytes() == (bundle / "models" / "run.json").read_bytes()
    assert not (model / together.NEXT).exists()


def test_the_new_region_is_offered_by_name_without_a_restart(
    label: Label, taught: tuple[Path, dict[str, Any]], app_folder: Path, scan: Path
) -> None:
    served = label.app.RegionApp(str(app_folder), str(label.studies), {})
    task = served._infers["tiny"]
    request = {"model": "tiny", "image": str(scan)}
    before = served.infer({**request, "regions": "outer"})["params"]["regions"]
    with pytest.raises(label.HTTPException, match="400: region 'kernel' is unknown"):
        served.infer({**request, "regions": "kernel"})
    assert task.info()["labels"] == {"outer": 1, "inner core": 2} and "region_kernel" not in task.info()["config"]
    for place in ("configs", "models"):  # as a training in another process does
        shutil.copytree(taught[0] / "model" / "tiny" / place, app_folder / "model" / "tiny" / together.NEXT / place)
    told = task.info()
    assert told["labels"] == {"outer": 1, "inner core": 2, "kernel": 3} and told["config"]["region_kernel"] is True
    answer = served.infer({**request, "regions": "outer, KERNEL"})
    assert list(answer["params"]["regions"]) == ["outer", "kernel"]
    assert answer["params"]["regions"]["kernel"]["value"] == 3
    assert answer["params"]["regions"]["outer"] == before["outer"]
    fixed = served.infer({"model": "tiny_outer", "image": str(scan)})["params"]["regions"]
    assert fixed == before
    assert served._trainers["tiny_new_region"].served.region_names == NEW


def test_a_later_start_keeps_the_model_and_offers_its_region(app: Path, bundle: Path, tmp_path: Path) -> None:
    before = contents(app / "model" / "tiny")
    written = write_app(bundle, app, "tiny", region_bundles=True)
    assert contents(app / "model" / "tiny") == before
    assert [folder.name for folder in written] == ["tiny", "tiny_outer", "tiny_inner_core", "tiny_kernel"]
    assert ServedModel(app / "model" / "tiny").region_names == NEW
    (backup,) = (app / "model" / "tiny" / "models" / "backup").glob("run_*.json")
    shutil.copy(backup, app / "model" / "tiny" / "models" / "run.json")  # back to the old model
    shutil.copy(next(backup.parent.glob("model_*.pt")), app / "model" / "tiny" / "models" / "model.pt")
    write_app(bundle, app, "tiny")
    assert ServedModel(app / "model" / "tiny").region_names == OLD


@pytest.mark.parametrize("change", ["spacing", "channels", "regions"])
def test_a_model_that_grew_from_another_is_refused(change: str, app: Path, bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "other")
    file = tmp_path / "other" / "models" / "run.json"
    record = json.loads(file.read_text())
    if change == "spacing":
        record["plan"]["spacing"] = [3.0, 3.0, 3.0]
    elif change == "channels":
        record["network"]["channels"] = [2, 8]
    else:
        record["regions"] = OLD[::-1]
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="holds a model of other regions"):
        write_app(tmp_path / "other", app, "tiny")


@pytest.mark.usefixtures("quiet")
def test_a_region_that_is_found_too_badly_is_not_served(app_folder: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    model = app_folder / "model" / "tiny"
    before = contents(model)
    entry = teach(model, training_set(tmp_path / "set", tiny_dataset), "kernel", least_dice=1.0, **SHORT)
    assert contents(model) == before and ServedModel(model).region_names == OLD
    dice = entry["after"]["kernel"]
    assert 0 <= dice < 1 and entry["replaced"] is False
    assert entry["reason"] == f"kernel: mean Dice {dice:.4f} on the scans held out: below 1, the old model stays"
    assert read_history(model / "models") == [entry] and trained_on(model / "models") == set()


@pytest.mark.usefixtures("quiet")
def test_a_second_region_and_further_training_of_a_model_that_grew(
    app: Path, tiny_dataset: Path, tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = app / "model" / "tiny"
    before = Predictor.load(model, "cpu", mode=None)(scan, probabilities=True)
    data = training_set(tmp_path / "set", tiny_dataset, ["stone"])
    assert teach(model, data, "stone", least_dice=0.0, **SHORT)["replaced"]
    after = Predictor.load(model, "cpu", mode=None)(scan, probabilities=True)
    assert after.regions == [*NEW, "stone"]
    assert np.array_equal(before.probabilities, after.probabilities[:3])
    data = training_set(tmp_path / "all", tiny_dataset, after.regions)
    monkeypatch.setattr("conemos_bundle.hosts.label.fine_tuning.verdict", lambda *_: (True, "better"))
    entry = fine_tune(model / "models", data, [], **SHORT, learning_rate=1e-3)
    assert set(entry["after"]) == {*NEW, "stone"}
    old, new = (torch.load(file, weights_only=True) for file in (entry["backup"], model / "models" / "model.pt"))
    moved = {name: float((new[name] - tensor).abs().max()) for name, tensor in old.items()}
    for part in ("base.", "added.0.", "added.1."):  # few steps of Adam, of the shared weights and of either region
        assert 0 < max(value for name, value in moved.items() if name.startswith(part)) < 0.01
    assert ServedModel(model)(str(scan)).regions == [*NEW, "stone"]


@pytest.mark.usefixtures("quiet")
def test_a_kill_while_the_model_is_replaced_loses_neither(
    app_folder: Path, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan: Path
) -> None:
    model, publish, moved = app_folder / "model" / "tiny", together.publish, list[str]()

    def killed(part: Path, path: Path) -> None:
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(path.name)
        publish(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(together, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            teach(model, training_set(tmp_path / "set", tiny_dataset), "kernel", least_dice=0.0, **SHORT)
    assert moved == ["inference.json", "metadata.json"]
    assert ServedModel(model)(str(scan)).regions == NEW and len(read_history(model / "models")) == 1


@pytest.fixture
def quiet() -> Iterator[None]:
    """The process is left as it was."""
    with left_as_it_was():
        yield


@pytest.mark.parametrize(
    ("named", "submitted", "answer"),
    [
        ("kernel", [], "kernel"),
        (" Spleen ", ["kernel"], "Spleen"),
        ("", ["kernel"], "kernel"),
        (None, ["kernel"], "kernel"),
        ("", [], "region: name the region that the model shall be taught; no submitted label holds a region that is"),
        ("", ["a", "b"], "region: name the region that the model shall be taught; there are a, b"),
        ("outer", [], "region: the model knows outer already"),
        ("OUTER", [], "region: the model knows outer already"),
        ("../x", [], "region: region name '../x': use letters"),
        ("$1", [], "region: region name '$1': use letters"),
        ("background", [], "region: region name 'background': background is"),
    ],
)
def test_the_region_asked_for(named: Any, submitted: list[str], answer: str) -> None:
    if answer.startswith("region: "):
        with pytest.raises(UserError) as refused:
            asked_region(named, OLD, lambda: submitted)
        assert str(refused.value).startswith(answer)
    else:
        assert asked_region(named, OLD, lambda: submitted) == answer


@pytest.fixture
def served(app_folder: Path) -> ServedModel:
    return ServedModel(app_folder / "model" / "tiny")


@pytest.fixture
def store(label: Label, tiny_dataset: Path, tmp_path: Path) -> Any:
    """Three scans: Kernel is drawn in two, beside a region of the model."""
    store = label.Folder({name: tiny_dataset / "images" / f"{name}.nii.gz" for name in NAMES})
    names = [{"name": "Kernel", "idx": 1}, {"name": "outer", "idx": 2}]
    annotate(store, "training_0", tmp_path / "a.nii.gz", 1, label_info=names)
    annotate(store, "training_1", tmp_path / "b.nii.gz", 1, label_info=names)
    annotate(store, "test_0", tmp_path / "c.nii.gz", 2, label_info=names)
    return store


@pytest.mark.parametrize("kind", ["Folder", "DICOMweb"])
@pytest.mark.parametrize("named", ["kernel", ""])
def test_the_task_teaches_what_was_drawn(
    named: str, kind: str, label: Label, served: ServedModel, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def teach(*arguments: Any, **options: Any) -> dict[str, Any]:
        file = arguments[1] / "datalist.json"
        scans = [*json.loads(file.read_text())["training"], *json.loads(file.read_text())["validation"]]
        masks = [
            nibabel.load(arguments[1] / str(mask)).get_fdata() for scan in scans for mask in scan["masks"].values()
        ]
        asked.extend([*arguments, options, scans, masks])
        return {"replaced": False, "reason": "too bad"}

    monkeypatch.setattr(label.tasks, "teach", teach)
    labels, store = store.labels, getattr(label, kind)(store.images)
    store.labels = labels
    request = {"region": named, "max_epochs": "3", "steps_per_epoch": 4, "learning_rate": 0.01, "least_dice": "0.7"}
    assert label.tasks.NewRegionTask(served)(request, store)["reason"] == "too bad"
    folder, _, region, options, scans, masks = asked
    assert folder == served.folder and region == (named or "Kernel")
    assert options == {
        "device": torch.device("cpu"), "max_epochs": 3, "steps_per_epoch": 4, "learning_rate": 0.01, "least_dice": 0.7,
    }  # fmt: skip
    assert {scan["subject"] for scan in scans} == {"training_0", "training_1"}
    assert all(list(scan["masks"]) == [region] for scan in scans)
    expected = nibabel.load(store.labels["training_0"][0]).get_fdata() == 1
    assert len(masks) == 2 and all(np.array_equal(mask, expected) for mask in masks)
    assert [path.name for path in (served.folder.parents[1] / "training").iterdir()] == [asked[1].name]


def test_a_region_drawn_in_one_scan_is_not_enough(label: Label, served: ServedModel, store: Any) -> None:
    del store.labels["training_1"]
    with pytest.raises(label.HTTPException) as refused:
        label.tasks.NewRegionTask(served)({"region": "kernel"}, store)
    assert refused.value.status_code == 400
    assert refused.value.detail.startswith("region: kernel is drawn in 1 of the submitted labels; draw it in 2 scans")
    with pytest.raises(label.HTTPException, match="region: stone is drawn in 0 of the submitted labels"):
        label.tasks.NewRegionTask(served)({"region": "stone"}, store)


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        ({"region": "inner core"}, "region: the model knows inner core already"),
        ({"region": "../x"}, "region: region name '../x'"),
        ({"least_dice": 2}, "least_dice: give a number from 0 to 1"),
        ({"max_epochs": "$1"}, "max_epochs: give a number from 1 to 100000"),
        ({"device": "$1"}, "device: use one of cpu"),
    ],
)
def test_what_cannot_be_taught_is_refused_in_one_line(
    request_: dict[str, Any], detail: str, label: Label, served: ServedModel, store: Any
) -> None:
    before = contents(served.folder)
    with pytest.raises(label.HTTPException) as refused:
        label.tasks.NewRegionTask(served)({"region": "kernel", **request_}, store)
    assert refused.value.detail.startswith(detail) and "\n" not in refused.value.detail
    assert contents(served.folder) == before


def test_a_model_that_cannot_grow_says_so(label: Label, served: ServedModel, store: Any) -> None:
    file = served.models / "run.json"
    record = json.loads(file.read_text())
    record["network"] = {"_target_": "conemos_bundle.networks.UNet", "num_regions": 2, "channels": [2, 4]}
    file.write_text(json.dumps(record))
    with pytest.raises(label.HTTPException, match="400: .*is a UNet; only CoNeMOS's conditioned network can be taught"):
        label.tasks.NewRegionTask(served)({"region": "kernel"}, store)


def test_nothing_is_left_of_a_training_that_is_stopped(
    label: Label, served: ServedModel, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    before = contents(served.folder)
    monkeypatch.setattr(new_region, "add_region", stopped)
    with pytest.raises(KeyboardInterrupt):
        label.tasks.NewRegionTask(served)({}, store)
    assert contents(served.folder) == before and read_history(served.models) == []
    assert list((served.folder.parents[1] / "training").iterdir()) == []


def test_clients_see_the_options(label: Label, served: ServedModel) -> None:
    task = label.tasks.NewRegionTask(served)
    assert task.stats() == {}
    assert list(task.config()) == [
        "device", "region", "max_epochs", "steps_per_epoch", "learning_rate", "val_split", "least_dice",
    ]  # fmt: skip
