"""Series that MONAI Label fetches over DICOMweb: converted by this package's reader, not by MONAI Label's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

import nibabel
from conemos_bundle.volumes.dicom import read_series


def use_our_reader(datastore: Any) -> None:
    """Let ``monailabel.datastore.dicom`` make NIfTI files of series by `read_series`.

    Its own conversion takes whatever GDCM sorts into a series: slices may be missing, or of two phases.
    """
    convert: Callable[..., str] = datastore.dicom_to_nifti
    if getattr(convert, "of_conemos", False):
        return

    def dicom_to_nifti(series_dir: str, is_seg: bool = False) -> str:
        """Raises: UserError: the series is no regular volume."""
        if is_seg or not os.path.isdir(series_dir):
            return convert(series_dir, is_seg)
        voxels, affine = read_series(series_dir)
        with tempfile.NamedTemporaryFile(suffix=".nii.gz", delete=False) as file:
            nibabel.save(nibabel.Nifti1Image(voxels, affine), file.name)
        return file.name

    dicom_to_nifti.of_conemos = True  # type: ignore[attr-defined]
    datastore.dicom_to_nifti = dicom_to_nifti
