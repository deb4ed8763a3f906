"""Masks as NIfTI files that lie where their scan lies, in every viewer."""

from __future__ import annotations

import io
import os
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.geometry import Affine, corner_distance
from conemos_bundle.volumes.nifti import APART, header_affine
from nibabel.nifti1 import Nifti1Header

SQUARE = 1e-4  # cosine between axes; float32 headers stay below


def is_sheared(affine: Affine) -> bool:
    """Whether the axes of a 4x4 ``affine`` are not at right angles (cosine above 1e-4)."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > SQUARE)


def save_mask(
    path: str | os.PathLike[str], array: npt.NDArray[Any], affine: Affine, nifti_header: Any | None = None
) -> None:
    """Write a mask, a label map or probabilities as NIfTI-1.

    Where its scan is a NIfTI file of the same grid, the file has both forms, the codes, unit and intent of the scan:
    viewers differ in which they take. Else the sform is the affine, in mm, and so is the qform if it can say it.

    Args:
        path: ends with ``.nii`` or ``.nii.gz``; its folder exists.
        array: ``(D, H, W)`` or ``(D, H, W, R)``.
        affine: voxel to mm in RAS.
        nifti_header: of the scan, 348 bytes (or an array of them), as `read_volume` and ``meta`` have it.
    """
    header = _header_of_scan(nifti_header, array.shape[:3], affine)
    if header is None:
        image = nibabel.Nifti1Image(array, affine)
        image.header.set_xyzt_units("mm")
        image.set_sform(affine, code="scanner")
        if is_sheared(affine):
            image.set_qform(None, code="unknown")  # a rotation and zooms cannot say it
        else:
            image.set_qform(affine, code="scanner")
    else:
        header.set_data_dtype(array.dtype)
        image = nibabel.Nifti1Image(array, None, header)
    nibabel.save(image, path)


def _header_of_scan(nifti_header: Any | None, shape: tuple[int, ...], affine: Affine) -> Nifti1Header | None:
    """The scan's header, without what is about its voxels; None where it is not about this grid."""
    if nifti_header is None:
        return None
    block = nifti_header if isinstance(nifti_header, bytes) else np.asarray(nifti_header, np.uint8).tobytes()
    scan = Nifti1Header.from_fileobj(io.BytesIO(block), check=False)
    try:
        its_affine = header_affine(scan)
    except UserError:
        return None
    scan_shape = tuple(int(length) for length in scan["dim"][1:4])
    spacing = np.linalg.norm(affine[:3, :3], axis=0).min()
    if scan_shape != tuple(shape) or corner_distance(shape, its_affine, affine) > 0.1 * APART * spacing:
        return None  # a host has turned or resampled the scan
    scan = scan.as_byteswapped("<")
    header = Nifti1Header()
    for name in ("dim_info", "intent_p1", "intent_p2", "intent_p3", "intent_code", "intent_name", "xyzt_units"):
        header[name] = scan[name]
    for name in ("pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"):
        header[name] = scan[name]
    for name in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        header[name] = scan[name]
    header["pixdim"][4:] = 1
    return header
