"""One slice per scan and region, with reference and prediction: what pictures of several methods side by side need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from conemos_bundle.errors import UserError
from conemos_bundle.transforms.resample import closest_ras
from conemos_bundle.utils.arrays import open_arrays
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff

SLICES = "slices.npz"
PARTS = ("image", "reference", "prediction", "spacing")

Slice = Mapping[str, np.ndarray]


def largest_slice(image: np.ndarray, prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray) -> Slice:
    """The slice where the reference has its largest area, across the axis with the largest spacing.

    Of axes with the same spacing it is the last in RAS, so isotropic scans give axial slices. The prediction has no
    say in it: every method's slice of a scan is the same.

    Args:
        image: image (D, H, W) as bytes.
        prediction: boolean mask of the same shape.
        reference: boolean mask of the same shape, not empty.
        affine: voxels to mm in RAS+, (4, 4).

    Returns:
        ``image`` (rows, columns) as bytes, the first row at the bottom; ``reference`` and ``prediction``, boolean masks
        of that shape; ``spacing``, mm between rows and between columns.
    """
    orientation = closest_ras(affine)
    spacing = voxel_sizes(affine @ inv_ornt_aff(orientation, image.shape))
    image, prediction, reference = (apply_orientation(array, orientation) for array in (image, prediction, reference))
    axis = max(range(3), key=lambda candidate: (round(spacing[candidate], 3), candidate))
    across, up = (other for other in range(3) if other != axis)
    index = int(reference.sum(axis=(across, up)).argmax())
    planes = {"image": image, "reference": reference, "prediction": prediction}
    return {
        **{name: np.ascontiguousarray(array.take(index, axis).T) for name, array in planes.items()},
        "spacing": spacing[[up, across]],
    }


def write_slices(path: Path, slices: Mapping[tuple[str, str], Slice]) -> None:
    """Write the slice of each (scan, region), compressed, under keys ``<scan>/<region>/<part>``, the parts `PARTS`."""
    arrays = {f"{scan}/{region}/{part}": one[part] for (scan, region), one in slices.items() for part in PARTS}
    with path.open("wb") as file:  # given a path, NumPy would add ".npz" to it
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def check_slice(one: Slice) -> Slice:
    """The slice, if it can be drawn.

    Raises:
        ValueError: parts that are missing, or of another shape or type than `largest_slice` gives.
    """
    image, reference, prediction, spacing = (one[part] for part in PARTS)
    shaped = image.ndim == 2 and image.size > 0 and image.shape == reference.shape == prediction.shape
    if not shaped or image.dtype.kind not in "biuf" or {reference.dtype.kind, prediction.dtype.kind} - set("bu"):
        raise ValueError("planes that are no image and two masks of one shape")
    numbers = spacing.dtype.kind == "f" and spacing.shape == (2,)
    if not numbers or not np.isfinite(spacing).all() or (spacing <= 0).any() or not reference.any():
        raise ValueError("no spacing, or nothing in the reference")
    return one


def read_slice(path: Path, scan: str, region: str) -> Slice | None:
    """The slice of a scan and region, or None where the file has none.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    try:
        with open_arrays(path) as file:
            keys = {part: f"{scan}/{region}/{part}" for part in PARTS}
            if not set(keys.values()) <= set(file.files):
                return None
            return check_slice({part: file[key] for part, key in keys.items()})
    except Exception as error:  # NumPy raises whatever it likes on a broken file
        raise UserError(f"{path}: cannot read the slices; evaluate the run again") from error
