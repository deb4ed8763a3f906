"""What `conemos evaluate` measures are the masks that `conemos predict` writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from conemos_bundle.cli import evaluate, predict
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.data.datalist import MaskSource
from conemos_bundle.errors import find_user_error

from tests.workflows import left_as_it_was


def padded(source: Path, target: Path) -> Path:
    """A file with its smallest value in twice as many planes behind its own."""
    image = nibabel.load(source)
    voxels = np.asanyarray(image.dataobj)
    target.parent.mkdir(parents=True, exist_ok=True)
    behind = ((0, 0), (0, 0), (0, 2 * voxels.shape[2]))
    nibabel.save(nibabel.Nifti1Image(np.pad(voxels, behind, constant_values=voxels.min()), image.affine), target)
    return target


def test_dice_and_volumes_are_those_of_the_files(run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    data = read_datalist(tiny_dataset / "datalist.json")
    scan = next(scan for scan in data.test if len(scan.masks) == 2)
    image = padded(tiny_dataset / str(scan.image), tmp_path / "images" / "a.nii.gz")
    masks: dict[str, Any] = {}
    for region, mask in scan.masks.items():
        told = {"file": mask, "values": [1]} if isinstance(mask, str) else {"file": mask.file, "values": mask.values}
        labels = padded(tiny_dataset / str(told["file"]), tmp_path / region / "a.nii.gz")
        masks[region] = MaskSource(file=str(labels), values=told["values"])
    one = scan.model_copy(update={"image": str(image), "masks": masks})
    file = tmp_path / "datalist.json"
    write_datalist(data.model_copy(update={"training": [], "validation": [], "test": [one]}), file)
    model = tmp_path / "model"
    shutil.copytree(run, model)
    weights = torch.load(model / "model.pt", weights_only=True)
    weights["backbone.final_film.projection.bias"] += 1  # β: finds something in air too, where it looks
    torch.save(weights, model / "model.pt")
    with left_as_it_was():
        evaluate(str(file), run=str(model), evaluation_dir=str(tmp_path / "evaluation"))
    predict(str(image), model=str(model), output=str(tmp_path / "masks"))
    rows = pd.read_csv(tmp_path / "evaluation" / "per_scan.csv").set_index("region")
    for region, mask in masks.items():
        found = np.asanyarray(nibabel.load(tmp_path / "masks" / "a" / f"{region}.nii.gz").dataobj) > 0
        reference = np.isin(np.asanyarray(nibabel.load(mask.file).dataobj), mask.values)
        assert reference.any() and found.any()
        dice = 2 * (found & reference).sum() / (found.sum() + reference.sum())
        assert rows.loc[region, "dice"] == pytest.approx(dice, abs=1e-6)
        assert rows.loc[region, "predicted_ml"] == pytest.approx(8e-3 * found.sum(), rel=1e-4)


def test_an_empty_mask_that_nobody_declares_absent_is_no_absent_region(
    run: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    data = read_datalist(tiny_dataset / "datalist.json").model_copy(update={"dataset_dir": str(tiny_dataset)})
    scan = data.test[0]
    image = nibabel.load(tiny_dataset / str(scan.image))
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), tmp_path / "empty.nii.gz")
    empty = MaskSource(file=str(tmp_path / "empty.nii.gz"))
    for absent in (None, True):
        masks: dict[str, Any] = {**scan.masks, "inner core": empty.model_copy(update={"absent": absent})}
        write_datalist(
            data.model_copy(update={"test": [scan.model_copy(update={"masks": masks})]}), tmp_path / "d.json"
        )
        with left_as_it_was():
            if absent:
                evaluate(str(tmp_path / "d.json"), run=str(run), evaluation_dir=str(tmp_path / "evaluation"))
                continue
            with pytest.raises(Exception, match=".") as error:
                evaluate(str(tmp_path / "d.json"), run=str(run), evaluation_dir=str(tmp_path / "evaluation"))
            assert "annotated region 'inner core' is empty" in str(find_user_error(error.value))
    rows = pd.read_csv(tmp_path / "evaluation" / "per_scan.csv").set_index("region")
    assert rows["false_positive_ml"].notna().to_dict() == {"outer": False, "inner core": True}
