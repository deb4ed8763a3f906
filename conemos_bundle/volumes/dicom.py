"""One DICOM series of a folder as a volume, or a refusal in one line: the reader that all entries share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.dicom_files import series_in
from conemos_bundle.volumes.dicom_geometry import series_affine, sort_slices
from conemos_bundle.volumes.dicom_pixels import check_pixels, read_pixels
from conemos_bundle.volumes.dicom_tags import READ, tag_value
from conemos_bundle.volumes.geometry import check_size
from pydicom import Dataset


def check_series(folder: str | os.PathLike[str], tags: Sequence[str] | None = READ) -> list[Dataset]:
    """Check the headers of a folder that holds one DICOM series; no pixel is read.

    Args:
        folder: searched with all its folders.
        tags: keywords of the tags to parse; None: all.

    Returns:
        D headers in ascending order along the slices' normal, each with its ``filename``.

    Raises:
        UserError: no series, several of them, or one that makes no regular volume; a file that is damaged.
    """
    folder = Path(folder)
    found = series_in(folder, tags)
    if not found:
        raise UserError(f"{folder}: no DICOM scan in this folder; give the folder of one series")
    if len(found) > 1:
        counts = ", ".join(f"{series[0].SeriesInstanceUID} ({len(series)} files)" for series in found[:10])
        raise UserError(f"{folder}: holds {len(found)} DICOM series: {counts}; give each series a folder of its own")
    return check_slices(found[0])


def part_problems(series: Mapping[Path, Sequence[Dataset]]) -> dict[Path, str]:
    """Which folders, each with the checked headers of its series, hold different slices of one series; a line each."""
    seen: dict[str, Path] = {}
    problems: dict[Path, str] = {}
    for folder, slices in series.items():
        other = seen.setdefault(str(slices[0].SeriesInstanceUID), folder)
        images, others = ({str(tag_value(one, "SOPInstanceUID")) for one in part} for part in (slices, series[other]))
        if not images & others:
            line = f"{other} and {folder} hold parts of one series; put all its files into one folder"
            problems.update({other: line, folder: line})
    return problems


def check_slices(headers: list[Dataset]) -> list[Dataset]:
    """The headers of one series in ascending order along its normal, all that can be checked without pixels checked.

    Raises:
        UserError: they make no regular volume, or one that does not fit in memory, or a file has not all its pixels.
    """
    ordered = sort_slices(headers)
    sizes = (int(ordered[0].Columns), int(ordered[0].Rows), len(ordered))
    check_size(Path(ordered[0].filename).parent, sizes, 4)  # float32 twice: slice by slice, and as it is given back
    check_pixels(ordered)
    return ordered


def read_slices(ordered: list[Dataset]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Gray values ``(W, H, D)`` and affine (4x4, voxel ``(column, row, slice)`` to mm in RAS+) of checked slices.

    Raises:
        UserError: the pixels are damaged, or compressed in a way that is not known.
    """
    return read_pixels(ordered), series_affine(ordered)


def read_series(folder: str | os.PathLike[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Read the one DICOM series of a folder, after all of `check_series`.

    Returns:
        gray values ``(W, H, D)``, each slice rescaled by its own slope and intercept, and the affine: 4x4, voxel
        ``(column, row, slice)`` to mm in RAS+, from positions and directions in float64.

    Raises:
        UserError: as `check_series`, or the pixels are damaged.
    """
    return read_slices(check_series(folder))
