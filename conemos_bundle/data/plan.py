"""What the training data say about the network's input: channels, voxel spacing, patch size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from conemos_bundle.errors import UserError
from conemos_bundle.transforms.resample import closest_ras
from conemos_bundle.volumes import read_geometry

LARGEST_LOOK = 50


def fit_patch(size: Sequence[float], most_voxels: int, multiple: int = 8) -> list[int]:
    """The patch for scans of a median ``size`` (voxels): covers them if that takes at most ``most_voxels``; else its
    longest sides are shortened until it fits. Each side is a ``multiple``."""
    most = max(multiple, most_voxels // multiple**3 * multiple)  # no side that fits is longer
    patch = [max(multiple, min(most, math.ceil(side / multiple) * multiple)) for side in size]
    while math.prod(patch) > most_voxels and max(patch) > multiple:
        longest = patch.index(max(patch))
        patch[longest] -= multiple
    return patch


class Look(NamedTuple):
    """What the headers of scans say: channels, median voxel spacing and median extent in mm (RAS)."""

    in_channels: int
    spacing: list[float]
    extent: list[float]


def look_at_scans(items: Sequence[dict[str, Any]]) -> Look:
    """Look at the headers of up to 50 training scans, evenly chosen.

    Args:
        items: training items as `scan_items` gives them.

    Raises:
        UserError: no scan, a scan cannot be read, or scans differ in their number of channels.
    """
    if not items:
        raise UserError("the datalist has no training scan with an annotated region: nothing to plan from")
    chosen = np.unique(np.linspace(0, len(items) - 1, min(len(items), LARGEST_LOOK)).astype(int))
    channels, spacings, sizes = [], [], []
    for i in chosen:
        geometry = read_geometry(items[i]["image"])
        axes = [int(axis) for axis in closest_ras(geometry.affine)[:, 0]]  # the place in RAS of each axis
        spacing_of = np.linalg.norm(geometry.affine[:3, :3], axis=0)
        channels.append(geometry.channels)
        spacings.append([float(spacing_of[axes.index(axis)]) for axis in range(3)])
        sizes.append([geometry.shape[axes.index(axis)] for axis in range(3)])
        if channels[-1] != channels[0]:
            raise UserError(f"{items[i]['image']}: {channels[-1]} channels, other scans have {channels[0]}")
    extent = np.median(np.asarray(sizes) * np.asarray(spacings), axis=0)
    return Look(channels[0], np.median(spacings, axis=0).tolist(), extent.tolist())


def plan_of(
    look: Look,
    most_voxels: int = 64**3,
    spacing: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
) -> dict[str, Any]:
    """The plan for scans that look so; arguments and what it returns as for `plan_input`."""
    planned = [round(float(s), 4) for s in (look.spacing if spacing is None else spacing)]
    # 40.000001 voxels, as last digits of an affine have it, are 40
    covered = [round(float(side), 2) for side in np.asarray(look.extent) / planned]
    patch = fit_patch(covered, most_voxels) if patch_size is None else list(patch_size)
    whole = all(side >= math.floor(length) for side, length in zip(patch, covered, strict=True))
    return {"in_channels": look.in_channels, "spacing": planned, "patch_size": patch, "whole_scans": whole}


def plan_input(
    items: Sequence[dict[str, Any]],
    most_voxels: int = 64**3,
    spacing: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Plan the network's input from the headers of training scans.

    Args:
        items: training items as `scan_items` gives them.
        most_voxels: the most voxels a patch may have.
        spacing: voxel spacing in mm (RAS) to train at; None: the median of the scans.
        patch_size: voxels of a patch; None: what covers most scans within ``most_voxels``.

    Returns:
        ``in_channels``; ``spacing``, three numbers in mm; ``patch_size``, three numbers of voxels at that spacing;
        ``whole_scans``, whether a patch covers a scan of median extent.

    Raises:
        UserError: as `look_at_scans` says.
    """
    return plan_of(look_at_scans(items), most_voxels, spacing, patch_size)
