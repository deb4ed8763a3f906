from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.hosts.deploy.make_series import make_series
from conemos_bundle.volumes.dicom import read_slices


def test_a_nifti_comes_back_from_its_series(tmp_path: Path, voxels: np.ndarray, oblique: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels, oblique), tmp_path / "scan.nii.gz")
    make_series(str(tmp_path / "scan.nii.gz"), str(tmp_path / "series"))
    datasets = find_series(tmp_path / "series")
    values, affine = read_slices(datasets)
    np.testing.assert_allclose(values, voxels, atol=float(np.ptp(voxels)) / 65535)
    np.testing.assert_allclose(affine, oblique, atol=1e-5)
    assert {dataset.Modality for dataset in datasets} == {"MR"}
