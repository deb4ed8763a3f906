"""Pseudo-labels stand beside real annotations, never in their place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.data.datalist import read_datalist, scan_items
from conemos_bundle.errors import find_user_error
from conemos_bundle.training import pseudo_labels
from conemos_bundle.training.pseudo_labels import SaveUnknownRegions, label_the_rest, with_pseudo_labels
from conemos_bundle.training.workflows import run_training_config
from ignite.engine import Engine
from monai.data import MetaTensor

AFFINE = np.array([[0.0, 0, 2, 5], [-1, 0, 0, 6], [0, 3, 0, 7], [0, 0, 0, 1]])  # permuted axes
SETTINGS: dict[str, Any] = {
    "max_epochs": 1,
    "steps_per_epoch": 1,
    "batch_size": 1,
    "most_voxels": 16**3,
    "num_workers": 0,
    "device": torch.device("cpu"),
}


def test_unknown_regions_are_saved_unless_empty(tmp_path: Path) -> None:
    shape = (4, 5, 6)
    prediction = torch.stack([torch.ones(shape), torch.zeros(shape), torch.ones(shape), torch.zeros(shape)])
    prediction[0, 0] = 0
    label = torch.zeros(4, *shape)
    label[[0, 1]] = torch.nan
    output = {
        "image": MetaTensor(torch.zeros(1, *shape), affine=torch.tensor(AFFINE)),
        "pred": prediction,
        "label": label,
    }
    engine = Engine(lambda engine, batch: [output])
    SaveUnknownRegions(tmp_path, ["a", "b", "c", "d"], [1, 3, 2]).attach(engine)
    engine.run([[{"name": "scan"}]])
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.gz")] == ["scan/a.nii.gz"]
    saved = nibabel.load(tmp_path / "scan" / "a.nii.gz")
    np.testing.assert_array_equal(saved.get_fdata(), prediction[0])
    np.testing.assert_allclose(saved.affine, AFFINE)


def test_a_mask_that_training_would_not_see_is_not_saved(tmp_path: Path) -> None:
    prediction = torch.zeros(2, 5, 5, 5)
    prediction[0, 1, 0, 0] = 1  # at 2 mm, voxels 0, 2 and 4 are left
    prediction[1, 2, 0, 0] = 1
    image = MetaTensor(torch.zeros(1, 5, 5, 5), affine=torch.eye(4))
    output = {"image": image, "pred": prediction, "label": torch.full((2, 5, 5, 5), torch.nan)}
    engine = Engine(lambda engine, batch: [output])
    SaveUnknownRegions(tmp_path, ["odd", "even"], [2, 1, 1]).attach(engine)
    engine.run([[{"name": "scan"}]])
    assert [file.name for file in tmp_path.rglob("*.gz")] == ["even.nii.gz"]


def test_a_real_annotation_is_never_replaced(tiny_dataset: Path, tmp_path: Path) -> None:
    data = read_datalist(tiny_dataset / "datalist.json")
    for item in scan_items(data, "training", tiny_dataset):
        for region in data.regions:
            file = tmp_path / item["name"] / f"{region}.nii.gz"
            file.parent.mkdir(exist_ok=True)
            file.touch()
    (tmp_path / "training_1" / "inner core.nii.gz").unlink()  # an empty prediction
    labeled = with_pseudo_labels(data, tiny_dataset, tmp_path)
    for before, after in zip(data.training, labeled.training, strict=True):
        assert before.masks.items() <= after.masks.items()
        for region in set(after.masks) - set(before.masks):
            assert after.masks[region] == str(tmp_path / before.subject / f"{region}.nii.gz")
    assert [sorted(scan.masks) for scan in labeled.training] == [
        ["inner core", "outer"],
        ["outer"],
        ["inner core", "outer"],
        ["inner core", "outer"],
    ]
    assert (labeled.validation, labeled.test) == (data.validation, data.test)


def test_stages_that_are_done_are_not_done_again(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (tiny_dataset / "datalist.json", tiny_dataset, tmp_path / "run", tmp_path / "teacher", SETTINGS)
    labeled = label_the_rest(*arguments)
    random = torch.rand(1)
    record = json.loads((tmp_path / "teacher" / "run.json").read_text())
    assert record["settings"]["method"] == "Individual networks"
    assert [item["name"] for item in labeled] == [f"training_{i}" for i in range(4)]
    for item in labeled:
        image = nibabel.load(item["image"])
        for source in item["masks"].values():
            np.testing.assert_allclose(nibabel.load(source["file"]).affine, image.affine, atol=1e-5)
            assert nibabel.load(source["file"]).shape == image.shape
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.pt")}
    monkeypatch.setattr(SaveUnknownRegions, "save", None)  # would fail
    assert label_the_rest(*arguments) == labeled
    assert torch.rand(1) == random  # the network to come starts alike
    shutil.move(tmp_path / "run", tmp_path / "moved")
    moved = label_the_rest(*arguments[:2], tmp_path / "moved", *arguments[3:])
    assert moved == json.loads(json.dumps(labeled).replace(str(tmp_path / "run"), str(tmp_path / "moved")))
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("model.pt")}.items() <= before.items()


def test_a_scan_that_cannot_be_labeled_does_not_end_the_others(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan is lost between the stages: training the teacher would not take it either."""
    data = tmp_path / "data"
    shutil.copytree(tiny_dataset, data)
    arguments = (data / "datalist.json", data, tmp_path / "run", tmp_path / "teacher", SETTINGS)
    bad, save, saved = data / "images" / "training_1.nii.gz", SaveUnknownRegions.save, []
    content = bad.read_bytes()

    def train_then_lose(overlays: list[str], *more: Any, **options: Any) -> None:
        run_training_config(overlays, *more, **options)
        if overlays == ["individual"] and not saved:
            bad.write_bytes(b"")

    def spy(self: SaveUnknownRegions, engine: Engine) -> None:
        saved.append(engine.state.batch[0]["name"])
        save(self, engine)

    monkeypatch.setattr(pseudo_labels, "run_training_config", train_then_lose)
    monkeypatch.setattr(SaveUnknownRegions, "save", spy)
    with pytest.raises(Exception, match=".") as error:
        label_the_rest(*arguments)
    assert "1 of 4 scans were not evaluated: training_1" in str(find_user_error(error.value))
    assert saved == ["training_0", "training_2", "training_3"]
    folder = tmp_path / "run" / "pseudo_labels"
    assert not (folder / "datalist.json").exists() and not (folder / "training_1").exists()
    bad.write_bytes(content)
    assert [item["name"] for item in label_the_rest(*arguments)] == [f"training_{i}" for i in range(4)]
    assert saved[3:] == ["training_1"]
