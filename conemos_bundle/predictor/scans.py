"""The forms in which a predictor takes a scan."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.fingerprints import file_contents
from conemos_bundle.volumes.nifti import MM
from monai.data import MetaTensor
from monai.utils import ImageMetaKey, MetaKeys, SpaceKeys

ScanInput = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | nibabel.spatialimages.SpatialImage | MetaTensor
Image = str | list[str] | MetaTensor


def scan_image(scan: ScanInput | npt.NDArray[Any], affine: npt.ArrayLike | None = None) -> Image:
    """An absolute path, or several, for `LoadImageScand`; of what is in memory, a copy ``(C, D, H, W)``, float32.

    Args:
        scan: a file, a folder, files, a nibabel image, a `MetaTensor` ``(C, D, H, W)`` or an array.
        affine: of an array, 4x4, voxels to mm in RAS.

    Raises:
        UserError: it is none of these, or says nothing of where it lies.
    """
    if isinstance(scan, str | os.PathLike) or (isinstance(scan, list | tuple) and scan):
        paths = [scan] if isinstance(scan, str | os.PathLike) else list(scan)
        files = [str(Path(path).expanduser().absolute()) for path in paths]
        return files[0] if len(files) == 1 else files
    name = ""
    voxels: Any
    if isinstance(scan, nibabel.spatialimages.SpatialImage):
        voxels, affine = np.asarray(scan.get_fdata(dtype=np.float32)), _in_mm(scan)
        voxels = np.moveaxis(voxels, 3, 0) if voxels.ndim == 4 else voxels
    elif isinstance(scan, MetaTensor):
        if (space := str(scan.meta.get(MetaKeys.SPACE, SpaceKeys.RAS))) != SpaceKeys.RAS:
            raise UserError(f"a MetaTensor whose space is {space}: give its affine, and meta['space'], in RAS")
        voxels, affine = scan.detach().cpu().numpy(), scan.affine.cpu().numpy()
        name = str(scan.meta.get(ImageMetaKey.FILENAME_OR_OBJ, ""))
    elif isinstance(scan, np.ndarray | torch.Tensor):
        voxels = np.asarray(scan)
        if affine is None:
            raise UserError("an array says nothing of its place: give its affine, 4x4, voxels to mm in RAS")
    else:
        raise UserError(f"a scan is a file, a nibabel image, a MetaTensor or an array, not a {type(scan).__name__}")
    matrix = np.asarray(affine, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
        raise UserError("the affine of the scan is no invertible 4x4 matrix")
    voxels = np.ascontiguousarray(voxels[None] if voxels.ndim == 3 else voxels, np.float32)
    tensor = MetaTensor(torch.from_numpy(voxels.copy()), affine=torch.from_numpy(matrix), meta={"space": "RAS"})
    tensor.meta["original_affine"] = matrix.copy()
    if name:
        tensor.meta[ImageMetaKey.FILENAME_OR_OBJ] = name  # for errors
    return tensor


def _in_mm(image: nibabel.spatialimages.SpatialImage) -> npt.NDArray[np.float64]:
    """The affine, voxel to mm in RAS, whatever the unit of a NIfTI header."""
    affine = np.asarray(image.affine, np.float64)
    if isinstance(image, nibabel.Nifti1Pair):
        unit = int(image.header["xyzt_units"]) & 7  # type: ignore[index]
        if unit not in MM:
            raise UserError(f"a nibabel image with an unknown unit of length (xyzt_units {unit}); set it to mm")
        affine = np.diag([MM[unit], MM[unit], MM[unit], 1.0]) @ affine
    return affine


def scan_key(image: Image) -> str:
    """What tells a scan from others: of files, their names and hashes; empty where there is no such file.

    Args:
        image: of `scan_image`.
    """
    if isinstance(image, MetaTensor):
        place = image.affine.numpy().tobytes() + str(tuple(image.shape)).encode()
        return hashlib.sha256(image.numpy().tobytes() + place).hexdigest()
    return "\n".join(file_contents([image] if isinstance(image, str) else image))
