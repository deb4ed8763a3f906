from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.transforms import LoadImageScand

AFFINE = np.diag([2.0, -1.0, 3.0, 1.0])


def write(path: Path, array: np.ndarray) -> str:
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)
    return str(path)


def test_channels_come_first_and_the_affine_is_kept(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    loaded = LoadImageScand()({"image": write(tmp_path / "a.nii.gz", array), "name": "a"})
    np.testing.assert_array_equal(loaded["image"].numpy(), array[None])
    np.testing.assert_allclose(loaded["image"].affine, AFFINE)
    assert loaded["name"] == "a"


def test_channels_of_a_4d_file_and_of_several_files(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((3, 4, 5, 2)).astype(np.float32)
    together = write(tmp_path / "both.nii.gz", array)
    files = [write(tmp_path / f"{c}.nii.gz", array[..., c]) for c in range(2)]
    for image in (together, files):
        loaded = LoadImageScand()({"image": image})["image"]
        np.testing.assert_array_equal(loaded.numpy(), np.moveaxis(array, -1, 0))


def test_hosts_find_the_loader_by_its_name() -> None:
    assert "LoadImage" in LoadImageScand.__name__


def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path) -> None:
    whole = Path(write(tmp_path / "whole.nii.gz", np.random.default_rng(0).random((9, 9, 9))))
    (tmp_path / "truncated.nii.gz").write_bytes(whole.read_bytes()[:300])
    (tmp_path / "text.nii").write_text("no image")
    for name in ("truncated.nii.gz", "text.nii", "absent.nii.gz"):
        file = tmp_path / name
        with pytest.raises(UserError) as caught:
            LoadImageScand()({"image": str(file)})
        assert str(caught.value).startswith(f"{file}: cannot be read as an image (")
        assert str(caught.value).endswith("); export the scan again")
        assert "\n" not in str(caught.value)
