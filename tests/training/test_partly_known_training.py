"""Every method trains and is evaluated on absent regions and ignored voxels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from conemos_bundle.cli import evaluate, train
from conemos_bundle.utils.paths import bundle_folder

from tests.machine_paths import machine_paths
from tests.workflows import left_as_it_was

METHODS = ["", "all", "paper", *sorted(file.stem for file in (bundle_folder() / "configs" / "methods").glob("*.json"))]
TINY: dict[str, Any] = {
    "max_epochs": 1,
    "steps_per_epoch": 4,
    "num_workers": 0,
    "device": torch.device("cpu"),
    "spacing": [2.5, 2.0, 2.0],
    "most_voxels": 16**3,
    "channels": [4, 8],
    "bfloat16": False,
}
TINY_FOR = {"paper": {"patch_size": [16, 16, 16], "augmentation::steps::deform::patch_size": [18, 18, 18]}}


@pytest.fixture(autouse=True)
def what_trainings_leave_behind_in_the_process() -> Iterator[None]:
    with left_as_it_was():
        yield


@pytest.fixture(scope="module")
def datalist(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set with each fourth slice of one mask known, and the inner region absent from two scans.

    Everything in a slice that is not known is wrong, so that whoever looks at it gets caught.
    """
    folder = tmp_path_factory.mktemp("partly")
    data = json.loads((tiny_dataset / "datalist.json").read_text())
    for split in ("training", "validation", "test"):
        for scan in data[split]:
            scan["image"] = str(tiny_dataset / scan["image"])
            for region, mask in scan["masks"].items():
                whole = {"file": mask} if isinstance(mask, str) else mask
                scan["masks"][region] = {**whole, "file": str(tiny_dataset / whole["file"])}
    masks = data["training"][1]["masks"]
    mask = nibabel.load(masks["outer"]["file"])
    sparse = np.full(mask.shape, 9, np.uint8)
    sparse[..., ::4] = np.asarray(mask.dataobj)[..., ::4]
    nibabel.save(nibabel.Nifti1Image(sparse, mask.affine), folder / "sparse.nii.gz")
    masks["outer"] = {"file": str(folder / "sparse.nii.gz"), "ignore": 9}
    data["training"][0]["masks"]["inner core"] = {"absent": True}
    data["validation"][1]["masks"]["inner core"] = {"absent": True}
    data["test"].append({**data["validation"][1], "image": str(folder / "test_1.nii.gz"), "subject": "test_1"})
    shutil.copy(data["validation"][1]["image"], folder / "test_1.nii.gz")
    (folder / "datalist.json").write_text(json.dumps(data))
    return folder / "datalist.json"


@pytest.mark.parametrize("method", METHODS)
def test_training_and_evaluation(datalist: Path, tmp_path: Path, method: str) -> None:
    options = {**TINY, **TINY_FOR.get(method, {}), "output_dir": str(tmp_path / "run")}
    if method == "all":  # no overlay
        method, options = "", {**options, "regions_per_scan": "all"}
    train(str(datalist), [method] if method else [], **options)
    assert machine_paths(tmp_path / "run" / "config.json") == []
    curve = pd.read_csv(tmp_path / "run" / "curve.csv")
    assert np.isfinite(curve["loss"]).all() and (curve["loss"] > 0).all()
    assert "false_positive_ml_outer" not in curve
    weights = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert all(weight.isfinite().all() for weight in weights.values())
    evaluate(str(datalist), run=str(tmp_path / "run"), device=torch.device("cpu"))
    rows = pd.read_csv(tmp_path / "run" / "evaluation_test" / "per_scan.csv").set_index(["scan", "region"])
    assert len(rows) == 4
    absent = rows.loc[("test_1", "inner core")]
    assert absent["false_positive_ml"] == absent["predicted_ml"]
    assert rows["false_positive_ml"].notna().sum() == 1
    if method != "paper":  # it validates after each fifth epoch
        assert curve["false_positive_ml_inner core"].tolist()[0] >= 0
    if method == "pseudo_label":  # what is absent or partly known gets no pseudo-label
        labels = {str(file.relative_to(tmp_path / "run/pseudo_labels")) for file in tmp_path.rglob("*.nii.gz")}
        assert labels <= {"training_1/inner core.nii.gz", "training_2/outer.nii.gz"}
