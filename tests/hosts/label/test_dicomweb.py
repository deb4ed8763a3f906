"""Series of a DICOMweb store."""

from __future__ import annotations

import types
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.dicomweb import use_our_reader
from conemos_bundle.volumes.dicom import read_series


def test_a_series_is_converted_by_our_reader_once_the_app_is_there(
    label: types.SimpleNamespace, app_folder: Path, series: Path
) -> None:
    label.app.RegionApp(str(app_folder), "http://127.0.0.1/dicom-web", {})
    convert = label.app.dicomweb_datastore.dicom_to_nifti
    made = Path(convert(str(series)))
    image = nibabel.load(made)
    values, affine = read_series(series)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), values)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    made.unlink()
    (series / "3.dcm").unlink()
    with pytest.raises(UserError, match="1 slices are missing"):
        convert(str(series))


def test_segmentations_and_files_stay_with_monai_label(series: Path) -> None:
    store = types.ModuleType("store")
    store.dicom_to_nifti = lambda series_dir, is_seg=False: f"theirs {is_seg}"  # type: ignore[attr-defined]
    use_our_reader(store)
    once = store.dicom_to_nifti
    use_our_reader(store)
    assert store.dicom_to_nifti is once
    assert once(str(series), is_seg=True) == "theirs True"
    assert once(str(series / "0.dcm")) == "theirs False"
