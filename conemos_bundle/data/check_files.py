"""Reading the files of a data set to check them: each problem becomes one line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from conemos_bundle.data.datalist import Scan
from conemos_bundle.errors import UserError
from conemos_bundle.volumes import EXTENSIONS, has_extension, read_volume
from conemos_bundle.volumes.geometry import same_affine


class Volume(NamedTuple):
    """A file that could be read."""

    voxels: np.ndarray  # (C, X, Y, Z)
    affine: np.ndarray  # (4, 4), voxel to RAS in mm
    has_channels: bool  # the file itself is 4D


def image_files(scan: Scan, root: Path) -> list[Path]:
    """The files of a scan's image, one per channel where there are several."""
    return [root / file for file in ([scan.image] if isinstance(scan.image, str) else scan.image)]


def file_problem(file: Path) -> str | None:
    """What is wrong with a file by its name, or that it is not there."""
    if not has_extension(file):
        return f"not an image format that is read here ({', '.join(EXTENSIONS)})"
    return None if file.is_file() else "no such file"


def read_file(file: Path, lines: list[str], labels: bool = False) -> Volume | None:
    """The file as a 3D volume with channels first; None, and a line, where that fails."""
    if file_problem(file):
        return None  # `structural_problems` has said so
    try:
        read = read_volume(file, labels)
    except UserError as error:
        lines.append(f"error: {error}")
        return None
    volume = Volume(read.voxels, read.affine, read.has_channels)
    if not np.isfinite(volume.voxels).all():
        lines.append(f"error: {file}: has NaN or infinite values")
        return None
    return volume


def check_image(scan: Scan, root: Path, lines: list[str]) -> Volume | None:
    """The image of a scan, its channels stacked; None, and lines, where it cannot be used."""
    files = image_files(scan, root)
    volumes: list[Volume] = []
    for file in files:
        volume = read_file(file, lines)
        if volume is None:
            continue
        if 1 in volume.voxels.shape[1:]:  # as `CheckScand` says, which training, evaluation and prediction ask
            size = " x ".join(map(str, volume.voxels.shape[1:]))
            lines.append(f"error: {file}: not a 3D image ({size} voxels); give a 3D scan")
        for channel, voxels in enumerate(volume.voxels):
            if voxels.min() == voxels.max():
                where = f"channel {channel} of the image" if len(volume.voxels) > 1 else "the image"
                lines.append(f"error: {file}: {where} is constant ({voxels.min():g} everywhere)")
        if len(files) > 1 and len(volume.voxels) > 1:
            lines.append(
                f"error: {file}: {len(volume.voxels)} channels, but of several image files each is one channel"
            )
        elif not volumes or same_grid(volume, file, volumes[0], files[0], "the first channel", lines):
            volumes.append(volume)
    if len(volumes) < len(files):
        return None
    return volumes[0]._replace(voxels=np.concatenate([volume.voxels for volume in volumes]))


def same_grid(volume: Volume, file: Path, other: Volume, other_file: Path, what: str, lines: list[str]) -> bool:
    """Whether two volumes share their grid; a line where they do not."""
    if (shape := volume.voxels.shape[1:]) != (expected := other.voxels.shape[1:]):
        lines.append(f"error: {file}: shape {shape} differs from {expected} of {what} {other_file}")
        return False
    if not same_affine(volume.affine, other.affine):
        affine, wanted = (np.round(each.affine[:3], 4).tolist() for each in (volume, other))
        lines.append(f"error: {file}: affine {affine} differs from {wanted} of {what} {other_file}")
        return False
    return True
