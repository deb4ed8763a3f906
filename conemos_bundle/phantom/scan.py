"""A scan of the phantom, drawn and written: what a process of its own does, so without torch or MONAI, whose import
takes as long as some scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from conemos_bundle.names import SPLITS
from conemos_bundle.phantom.anatomy import draw_fetus, draw_mother, region_masks, signed_distances
from conemos_bundle.phantom.appearance import epi_image
from conemos_bundle.phantom.field_of_view import FIELD
from conemos_bundle.phantom.full import GREY_LEVELS, draw_full_scan
from conemos_bundle.phantom.geometry import Array, grid_points
from numpy.typing import NDArray

FIELD_OF_VIEW = {"small": 192.0, "full": FIELD}  # mm per side


def draw_scan(
    size: int, spacing: float, seed: int, split: str, mother: int, scan: int
) -> tuple[Array, dict[str, NDArray[np.bool_]]]:
    """Draw scan number ``scan`` of mother number ``mother`` of ``split``, of the small phantom.

    Args:
        size: voxels per side.
        spacing: of the voxels, in mm.
        seed: of the data set.
        split: ``training``, ``validation`` or ``test``.
        mother: her number in the split, from 0.
        scan: its number among hers, from 0.

    Returns:
        image (size, size, size) in [0, 1], and the mask (size, size, size) of each region.
    """
    points = grid_points(size, spacing)
    anatomy = draw_mother(generator(seed, split, mother))
    rng = generator(seed, split, mother, 1 + scan)
    distances = signed_distances(points, anatomy, draw_fetus(rng, anatomy))
    return epi_image(points, spacing, anatomy, distances, rng), region_masks(distances)


def draw_scan_at_full_fidelity(
    size: int, seed: int, split: str, mother: int, scan: int
) -> tuple[Array, dict[str, NDArray[np.bool_]]]:
    """As `draw_scan`, of the full phantom: voxels of 384 / ``size`` mm."""
    return draw_full_scan(size, generator(seed, split, mother), generator(seed, split, mother, 1 + scan))


def write_scan(
    folder: Path, split: str, size: int, seed: int, fidelity: str, what: tuple[int, int, int, list[str]]
) -> dict[str, Any]:
    """Draw and write one scan.

    Args:
        folder: of the data set.
        split: of the scan.
        size: voxels per side.
        seed: of the data set.
        fidelity: ``small`` or ``full``.
        what: its index in the split, its mother and number, and the regions annotated in it.

    Returns:
        its entry in the datalist.
    """
    index, mother, scan, regions = what
    spacing = FIELD_OF_VIEW[fidelity] / size
    if fidelity == "full":
        image, masks = draw_scan_at_full_fidelity(size, seed, split, mother, scan)
        name = f"{split}_{mother:03d}_{scan}.nii.gz"
    else:
        image, masks = draw_scan(size, spacing, seed, split, mother, scan)
        name = f"{split}_{index:03d}.nii.gz"
    _write_nifti(image, spacing, folder / "images" / name, GREY_LEVELS if fidelity == "full" else None)
    for region in regions:
        _write_nifti(masks[region].astype(np.uint8), spacing, folder / "masks" / region / name)
    files = {region: f"masks/{region}/{name}" for region in regions}
    return {"image": f"images/{name}", "subject": f"{split}_mother_{mother:03d}", "masks": files}


def generator(seed: int, split: str, *numbers: int) -> np.random.Generator:
    """A generator of its own for a split, a mother, or a scan: none depends on how many there are."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), *numbers)))


def _write_nifti(array: NDArray, spacing: float, path: Path, gray_levels: int | None = None) -> None:
    """Write ``array`` with a RAS affine whose origin is the center of the grid; as whole gray levels, if given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(array.shape) - 1) / 2
    if gray_levels:
        array = np.round(array * gray_levels).astype(np.int16)
    nifti = nib.Nifti1Image(array, affine)
    nifti.set_sform(affine, code="scanner")
    nifti.set_qform(affine, code="scanner")
    nifti.header.set_xyzt_units("mm")
    if gray_levels:
        nifti.header.set_slope_inter(1 / gray_levels, 0)
    nib.save(nifti, path)
