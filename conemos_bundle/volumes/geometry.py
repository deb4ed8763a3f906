"""Where a volume lies, and what is too absurd to be one: checked from headers, before voxels are read."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError

logger = logging.getLogger(__name__)
Affine = npt.NDArray[np.float64]
_warned: set[tuple[str, str]] = set()

SMALLEST, LARGEST = 1e-5, 1e3  # spacing, mm: from 10 nm to 1 m
FARTHEST = 1e5  # of the origin, mm: the affine's float32 still tells hundredths of a millimeter there
FLATTEST = 0.1  # volume of a voxel, as part of that of a box with its edges
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Geometry:
    """What a header tells: voxels ``(D, H, W)``, the number of channels, and the affine, voxel to mm in RAS."""

    shape: tuple[int, int, int]
    channels: int
    affine: Affine


def unreadable(path: str | os.PathLike[str], reason: object) -> UserError:
    """The error for a file that is damaged, or is not what its extension says."""
    told = " ".join(str(reason).split())[:120] or type(reason).__name__
    return UserError(f"{path}: cannot be read as an image ({told}); export the scan again")


def header_error(path: str | os.PathLike[str], error: Exception) -> UserError:
    """What a header's reader ran into, as one line; an error that is one already stays as it is."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, KeyError):
        return unreadable(path, f"no {error.args[0]} in its header")
    return unreadable(path, error.strerror if isinstance(error, OSError) and error.strerror else error)


def check_affine(path: str | os.PathLike[str], affine: Affine) -> None:
    """
    Raises:
        UserError: not finite, singular, sheared until it is flat, or with spacings or an origin that no scan has.
    """
    if not np.isfinite(affine).all():
        raise UserError(f"{path}: its position or spacing is NaN or infinite; export the scan again")
    with np.errstate(over="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    told = " x ".join(f"{length:.4g}" for length in spacing)
    if not ((spacing >= SMALLEST) & (spacing <= LARGEST)).all():
        raise UserError(
            f"{path}: a voxel spacing of {told} mm; {SMALLEST:g} to {LARGEST:g} mm can be read, check the file's unit"
        )
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < FLATTEST:
        raise UserError(f"{path}: its axes lie in one plane, or almost; export the scan again")
    if np.abs(affine[:3, 3]).max() > FARTHEST:
        raise UserError(f"{path}: its origin lies more than {FARTHEST / 1000:g} m away; export the scan again")


def check_size(path: str | os.PathLike[str], sizes: Sequence[int], bytes_per_voxel: int) -> None:
    """
    Args:
        path: the file.
        sizes: along all of its axes.
        bytes_per_voxel: in the file.

    Raises:
        UserError: an axis without voxels, or more of them than fit in memory, once as stored and once as float32.
    """
    size = " x ".join(str(length) for length in sizes)
    if min(sizes, default=0) < 1:
        raise unreadable(path, f"its header says {size or 'no'} voxels")
    if math.prod(sizes) * (bytes_per_voxel + 4) > memory_of_machine():
        raise UserError(f"{path}: {size} voxels do not fit in this machine's memory; crop the scan")


def warn_once(path: str | os.PathLike[str], problem: str) -> None:
    """Log a warning that names the file: one line per file and process, however often it is read."""
    if (str(path), problem) not in _warned:
        _warned.add((str(path), problem))
        logger.warning(f"{path}: {problem}")


def same_affine(affine: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Whether two affines (voxel to mm) are one but for rounding: to 0.001 mm, or of voxels below 1 mm to 0.1% of one.

    Args:
        affine: 4x4.
        other: 4x4; its voxels count.
    """
    smallest = float(np.linalg.norm(np.asarray(other, float)[:3, :3], axis=0).min())
    return bool(np.allclose(affine, other, rtol=0, atol=1e-3 * min(1.0, smallest)))


def memory_of_machine() -> float:
    """Bytes of main memory that this process may use: the machine's, or its container's."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) if hasattr(os, "sysconf") else math.inf
    limit = Path("/sys/fs/cgroup/memory.max")
    granted = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, float(granted)) if granted.isdigit() else total


def corner_distance(shape: Sequence[int], one: Affine, other: Affine) -> float:
    """How far apart, in mm, two affines put the corner voxels of a grid ``(D, H, W)``; infinite where they are NaN."""
    corners = np.array(list(itertools.product(*((0, n - 1) for n in shape), [1])), float)
    distance = np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max()
    return float(distance) if np.isfinite(distance) else math.inf


def same_folder(header: Path, name: str) -> Path:
    """The file of voxels that a header names.

    Raises:
        UserError: it is not there, or lies outside of the header's folder.
    """
    path = (header.parent / name).resolve()
    if not path.is_relative_to(header.parent.resolve()):
        raise UserError(f"{header}: names a file outside of its folder ({name!r}); put the voxels beside it")
    if not path.is_file():
        raise UserError(f"{header}: its file of voxels is missing ({name!r}); put it beside the header")
    return path
