"""One reader of scans and masks: files of each format, DICOM folders, and several files as channels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError
from conemos_bundle.volumes import metaimage, nifti, nrrd
from conemos_bundle.volumes.dicom import check_series, read_series
from conemos_bundle.volumes.dicom_geometry import series_affine
from conemos_bundle.volumes.geometry import Affine, Geometry, check_affine, same_affine
from conemos_bundle.volumes.layout import Layout

EXTENSIONS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_READERS = {
    ".nii": nifti.read_layout, ".nii.gz": nifti.read_layout, ".nrrd": nrrd.read_layout, ".nhdr": nrrd.read_layout,
    ".mha": metaimage.read_layout, ".mhd": metaimage.read_layout,
}  # fmt: skip

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Volume:
    """Voxels ``(C, D, H, W)`` in the order of the file's axes, and the affine, voxel to mm in RAS.

    ``nifti_header``: of a NIfTI scan, the 348 bytes that its results take forms, codes, units and intent from.
    ``has_channels``: whether the file itself has an axis of channels, be it of length 1.
    """

    voxels: npt.NDArray[Any]
    affine: Affine
    nifti_header: bytes | None = None
    has_channels: bool = False


def has_extension(path: AnyPath) -> bool:
    """Whether a file is one of `EXTENSIONS` by its name, in upper or lower case."""
    return os.fspath(path).lower().endswith(EXTENSIONS)


def read_volume(path: AnyPath | Sequence[AnyPath], labels: bool = False) -> Volume:
    """Read a scan, a mask or a label map, to the last byte.

    Args:
        path: a file, a folder that holds one DICOM series, or a list of files, one per channel.
        labels: give whole numbers as they are stored (never through float32), else gray values in float32.

    Raises:
        UserError: a file is missing, damaged or truncated; its place or size is none that a scan has; it holds colors
            (or labels that are not whole numbers); the files of several channels differ in shape or affine.
    """
    if not isinstance(path, str | os.PathLike):
        return _stack([Path(file) for file in path], labels)
    path = Path(path)
    if path.is_dir():
        voxels, affine = read_series(path)
        check_affine(path, affine)
        return Volume(_whole(path, voxels[None]) if labels else voxels[None], affine)
    layout = _layout(path)
    geometry = layout.geometry()
    if labels and layout.dtype.kind not in "iuf":
        raise _colors(path)
    if not labels:
        _reject_colors(layout)
    voxels = layout.labels() if labels else layout.images()
    return Volume(voxels, geometry.affine, layout.nifti_header, layout.channel_axis is not None)


def read_geometry(path: AnyPath | Sequence[AnyPath]) -> Geometry:
    """Where a scan lies, by its headers; all is checked that needs no voxels.

    Raises:
        UserError: as `read_volume`.
    """
    if not isinstance(path, str | os.PathLike):
        files = [Path(file) for file in path]
        geometries = [read_geometry(file) for file in files]
        for file, geometry in zip(files, geometries, strict=True):
            _reject_other_grid(file, geometry, files[0], geometries[0], len(files))
        return Geometry(geometries[0].shape, sum(each.channels for each in geometries), geometries[0].affine)
    path = Path(path)
    if path.is_dir():
        headers = check_series(path)
        affine = series_affine(headers)
        check_affine(path, affine)
        return Geometry((int(headers[0].Columns), int(headers[0].Rows), len(headers)), 1, affine)
    layout = _layout(path)
    geometry = layout.geometry()
    _reject_colors(layout)
    return geometry


def data_files(path: AnyPath) -> list[Path]:
    """The file, and that of its voxels where it is a header alone (``.mhd``, ``.nhdr``) that can be read."""
    file = Path(path)
    if not file.name.lower().endswith((".mhd", ".nhdr")):
        return [file]
    try:
        return list(dict.fromkeys([file, _layout(file).data_file]))
    except UserError:
        return [file]


def has_header(path: AnyPath) -> bool:
    """Whether there is an image, as far as its header tells."""
    try:
        _layout(Path(path)).geometry()
    except UserError:
        return False
    return True


def nifti_header(path: AnyPath) -> bytes | None:
    """The header that results of a scan take their place from; None where it is no NIfTI file that can be read."""
    try:
        return None if Path(path).is_dir() else _layout(Path(path)).nifti_header
    except UserError:
        return None


def _whole(path: Path, voxels: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The labels of a DICOM series; float32 holds those of 16 bits, and whatever was rescaled is no label."""
    whole = np.rint(voxels)
    if not np.array_equal(whole, voxels) or np.abs(whole).max() >= 2**24:
        raise UserError(f"{path}: its values are not whole numbers below 2^24, so no labels; give a label map")
    return whole.astype(np.int64)


def _layout(path: Path) -> Layout:
    if path.exists() and not path.is_file():  # a device or a pipe might never end
        raise UserError(f"{path}: a device or a pipe, not a file; give a file")
    name = path.name.lower()
    for extension in sorted(EXTENSIONS, key=len, reverse=True):
        if name.endswith(extension):
            return _READERS[extension](path)
    raise UserError(f"{path}: not an image format that is read here; use one of {', '.join(EXTENSIONS)}")


def _reject_colors(layout: Layout) -> None:
    if layout.colors or layout.dtype.kind not in "iuf":
        raise _colors(layout.path)


def _colors(path: Path) -> UserError:
    return UserError(f"{path}: holds colors, vectors or complex numbers; convert it to a gray-value NIfTI file")


def _stack(files: Sequence[Path], labels: bool) -> Volume:
    if not files:
        raise UserError("no file given")
    read_geometry(files)
    volumes = [read_volume(file, labels) for file in files]
    voxels = np.concatenate([volume.voxels for volume in volumes])
    return Volume(voxels, volumes[0].affine, volumes[0].nifti_header, has_channels=True)


def _reject_other_grid(file: Path, geometry: Geometry, other_file: Path, other: Geometry, files: int) -> None:
    if files > 1 and geometry.channels > 1:
        raise UserError(f"{file}: {geometry.channels} channels, but of several image files each is one channel")
    if geometry.shape != other.shape:
        raise UserError(
            f"{file}: shape {geometry.shape} or affine differ from {other.shape} of {other_file}; "
            "the channels of a scan share one grid"
        )
    if not same_affine(geometry.affine, other.affine):
        raise UserError(f"{file}: its affine is not that of {other_file}; the channels of a scan share one grid")
