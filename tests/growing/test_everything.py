"""All weights are trained on; the old regions are rehearsed, and what they lose is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from conemos_bundle.data import read_datalist, scans_folder
from conemos_bundle.errors import UserError
from conemos_bundle.growing import add_region
from conemos_bundle.growing.everything import _beginning, _lost, _rehearse, _with_old_regions
from conemos_bundle.growing.model import read_growing
from conemos_bundle.runs.run import read_record
from conemos_bundle.runs.subjects import subject_hash
from conemos_bundle.runs.weights import load_weights

from tests.growing.conftest import SETTINGS

pytestmark = pytest.mark.usefixtures("what_workflows_leave_behind_in_the_process")


def test_old_regions_are_rehearsed_where_nobody_annotated_them(run: Path, new_region: Path, tmp_path: Path) -> None:
    model = shutil.copytree(run, tmp_path / "model")
    told = json.loads((model / "run.json").read_text())
    (model / "run.json").write_text(json.dumps({**told, "temperature": 1.25}))
    folder = add_region(new_region, model, "kernel", tmp_path / "all", capacity="all", learning_rate=1e-9, **SETTINGS)
    record = read_record(folder / "model.pt")
    assert record.regions == ["outer", "inner core", "kernel"]
    # two scans have a kernel, in one of them outer is drawn too; predictions are no annotations
    assert record.data.annotated["training"] == {"scans": 2, "outer": 1, "inner core": 0, "kernel": 2}
    rehearsed = read_datalist(folder / "rehearsed_training.json")
    masks = [scan.masks for scan in rehearsed.training]
    assert [sorted(each) for each in masks] == [["inner core", "kernel", "outer"]] * 2  # those with a kernel
    assert all("rehearsed_training" in str(each["inner core"]) for each in masks)
    assert ["rehearsed" in str(each["outer"]) for each in masks] == [True, False]  # the second scan's is drawn
    seen, before = (json.loads((model / "subjects.json").read_text()) for model in (folder, run))
    assert "complete" not in seen and len(before["training"]) == 4
    assert set(seen["training"]) == {*before["training"], *(subject_hash(scan.subject) for scan in rehearsed.training)}
    validation = [scan.masks for scan in rehearsed.validation]
    assert [sorted(each) for each in validation] == [["inner core", "kernel", "outer"]]
    assert "rehearsed_validation" in str(validation[0]["inner core"])
    assert validation[0]["outer"] == "outer/validation_0.nii.gz"  # what is drawn counts
    curve = pd.read_csv(folder / "curve.csv")
    assert curve[["validation_dice_outer", "validation_dice_inner core"]].notna().all(axis=None)  # they choose too
    assert record.temperature == 1.25  # not that of the model's own masks
    lost = pd.read_csv(folder / "old_regions.csv")
    assert lost["region"].tolist() == ["outer", "inner core"]
    assert lost["scans"].tolist() == [1, 1]
    assert lost["dice"].min() > 0.99  # nothing was learned, so nothing was lost


def test_what_is_learned_costs_the_old_regions(run: Path, new_region: Path, tmp_path: Path) -> None:
    many = {**SETTINGS, "steps_per_epoch": 8}
    folder = add_region(new_region, run, "kernel", tmp_path / "all", capacity="all", learning_rate=0.1, **many)
    assert pd.read_csv(folder / "old_regions.csv")["dice"].min() < 0.9


def test_what_is_found_where_the_model_found_nothing_is_told(run: Path, new_region: Path, tmp_path: Path) -> None:
    data, model = read_datalist(new_region), read_growing(run)
    root = scans_folder(new_region, data)
    scan = data.validation[0].model_copy(update={"masks": {"kernel": data.validation[0].masks["kernel"]}})
    before = _with_old_regions(data, model, "kernel").model_copy(update={"training": [scan], "validation": []})
    begin = _beginning(tmp_path / "after", model, "kernel")  # predicts the old regions as the model does
    lost = _lost(before, root, begin, model, {"device": "cpu"}).set_index("region")
    assert lost["dice"].isna().all()
    assert lost["scans"].tolist() == [0, 0]
    assert lost["empty_scans"].tolist() == [1, 1]
    assert lost["false_positive_ml"].min() > 0


def test_without_validation_scans_nothing_is_compared(run: Path, new_region: Path, tmp_path: Path) -> None:
    data, model = read_datalist(new_region), read_growing(run)
    lost = _lost(data.model_copy(update={"training": []}), tmp_path, tmp_path, model, {})
    assert lost["region"].tolist() == ["outer", "inner core"]
    assert lost["dice"].isna().all()
    assert lost["scans"].tolist() == lost["empty_scans"].tolist() == [0, 0]


def test_it_begins_as_the_model_and_the_mean_of_its_regions(run: Path, tmp_path: Path) -> None:
    model = read_growing(run)
    begin = _beginning(tmp_path / "begin", model, "kernel")
    before, after = load_weights(run / "model.pt"), load_weights(begin / "model.pt")
    first = "embedding.0.weight"
    assert torch.equal(after[first][:, :2], before[first])
    assert torch.allclose(after[first][:, 2], before[first].mean(1))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items() if name != first)
    assert json.loads((begin / "run.json").read_text())["regions"] == ["outer", "inner core", "kernel"]


def test_a_training_of_another_model_does_not_go_on_here(run: Path, new_region: Path, tmp_path: Path) -> None:
    model = read_growing(run)
    (tmp_path / "all").mkdir()
    _beginning(tmp_path / "all" / "begin", model, "kernel")
    _beginning(tmp_path / "all" / "begin", model, "kernel")  # of the same one it does
    shutil.copytree(run, tmp_path / "other")
    weights = load_weights(run / "model.pt")
    torch.save({name: tensor * 1.5 for name, tensor in weights.items()}, tmp_path / "other" / "model.pt")
    with pytest.raises(UserError, match="all: holds the training of another model or region; pass another --output"):
        add_region(new_region, tmp_path / "other", "kernel", tmp_path / "all", capacity="all", **SETTINGS)


def test_a_region_that_the_new_scans_do_not_show_cannot_be_rehearsed(
    run: Path, new_region: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "blind")
    weights = load_weights(run / "model.pt")
    torch.save({n: t * 0 - 9 * ("final_film" in n) for n, t in weights.items()}, tmp_path / "blind" / "model.pt")
    with pytest.raises(UserError, match="the model finds nothing of inner core in the new scans, so that cannot be"):
        add_region(new_region, tmp_path / "blind", "kernel", tmp_path / "all", capacity="all", **SETTINGS)
    assert not (tmp_path / "all" / "model.pt").exists()


def test_a_scan_that_came_later_is_labeled_too(run: Path, new_region: Path, tmp_path: Path) -> None:
    data = read_datalist(new_region)
    first = data.model_copy(update={"training": data.training[:-1], "dataset_dir": str(scans_folder(new_region, data))})
    folder, model = tmp_path / "all", read_growing(run)
    folder.mkdir()
    for some in (first, data):
        known = _with_old_regions(some, model, "kernel")
        labeled = _rehearse(known, scans_folder(new_region, data), folder, model, "training", {"device": "cpu"})
        assert all("inner core" in scan.masks for scan in labeled.training)


def test_what_builds_on_frozen_weights_is_not_trained_on(grown: Path, new_region: Path, tmp_path: Path) -> None:
    text = new_region.read_text().replace('"kernel"', '"stone"')
    (tmp_path / "datalist.json").write_text(text)
    with pytest.raises(UserError, match=r"has added regions \(kernel\), which build on frozen weights"):
        add_region(tmp_path / "datalist.json", grown, "stone", tmp_path / "all", capacity="all", **SETTINGS)
