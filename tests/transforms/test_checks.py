"""Voxels that the network cannot segment."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.transforms.checks import CheckScand
from monai.data import MetaTensor
from monai.transforms import LoadImaged


def scan(*shape: int) -> MetaTensor:
    image = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    return MetaTensor(image, meta={"filename_or_obj": "/scans/a.nii"})


def test_good_scan_stays_as_it_is() -> None:
    data = {"image": scan(2, 3, 4, 5), "name": "a"}
    checked = CheckScand(channels=2)(data)
    assert checked["image"] is data["image"]
    assert checked["name"] == "a"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_voxels_that_are_no_numbers(value: float) -> None:
    image = scan(1, 3, 4, 5)
    image[0, 1, 2, 3] = value
    with pytest.raises(UserError, match="^/scans/a.nii: holds NaN or infinite voxels"):
        CheckScand()({"image": image})


def test_one_constant_channel_of_two() -> None:
    image = scan(2, 3, 4, 5)
    image[1] = 7
    with pytest.raises(UserError, match="^/scans/a.nii: .*equal"):
        CheckScand(channels=2)({"image": image})


def test_channels() -> None:
    with pytest.raises(UserError, match="^/scans/a.nii: has 2 channels; give a scan with 1"):
        CheckScand()({"image": scan(2, 3, 4, 5)})


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 3, 4, 1), (1, 3, 4, 5, 2)])
def test_images_that_are_not_3d(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="^/scans/a.nii: not a 3D image"):
        CheckScand()({"image": scan(*shape)})


def test_plain_tensor_is_named_by_its_scan() -> None:
    with pytest.raises(UserError, match="^case_7: .*equal"):
        CheckScand()({"image": torch.zeros(1, 3, 4, 5), "name": "case_7"})


def test_names_the_file_that_was_loaded(tmp_path: Path) -> None:
    path = tmp_path / "empty.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), path)
    data = LoadImaged(keys="image", ensure_channel_first=True, image_only=True)({"image": str(path)})
    with pytest.raises(UserError) as caught:
        CheckScand()(data)
    assert str(caught.value).startswith(f"{path}: ")
