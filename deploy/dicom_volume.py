"""Grey values and affine of a sorted DICOM series, as ITK reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError
from monai.data.utils import orientation_ras_lps
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_rescale


def read_pixels(headers: Sequence[Dataset]) -> list[Dataset]:
    """The same images with their pixels, in the same order.

    Raises:
        UserError: a file has no pixels, is truncated, or is compressed in a way that nothing here decodes.
    """
    datasets: list[Dataset] = []
    for header in headers:
        dataset = dcmread(header.filename)
        try:
            _ = dataset.pixel_array  # decodes once; pydicom keeps it
        except Exception as error:  # each decoder raises what it likes
            syntax = getattr(dataset.file_meta.get("TransferSyntaxUID"), "name", "unknown")
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise UserError(
                f"{header.filename}: its pixels cannot be read (transfer syntax {syntax}: {reason}); "
                "export the series again, uncompressed"
            ) from error
        datasets.append(dataset)
    return datasets


def volume(datasets: Sequence[Dataset]) -> npt.NDArray[np.float32]:
    """Grey values ``(W, H, D)`` of a sorted series, each slice with its own rescale slope and intercept.

    In float from the start: the SDK takes the first slice's type for all, and cuts off a later slice's fractions
    where the first one is empty.

    Raises:
        UserError: signed MONOCHROME1 pixels, which readers invert in different ways.
    """
    slices = [np.asarray(apply_rescale(_stored(dataset), dataset), np.float32) for dataset in datasets]
    return np.ascontiguousarray(np.stack(slices).transpose(2, 1, 0))


def _stored(dataset: Dataset) -> npt.NDArray[np.integer]:
    """``(H, W)``; MONOCHROME1 is inverted as ITK does, before the rescaling (the SDK does so after it)."""
    stored = dataset.pixel_array
    if dataset.PhotometricInterpretation != "MONOCHROME1":
        return stored
    if dataset.PixelRepresentation != 0:
        raise UserError(f"{dataset.filename}: signed MONOCHROME1 pixels; convert the series to MONOCHROME2")
    return (2**dataset.BitsStored - 1) - stored.astype(np.int64)


def affine_ras(datasets: Sequence[Dataset]) -> npt.NDArray[np.float64]:
    """4x4, voxel ``(column, row, slice)`` to mm in RAS+.

    PixelSpacing holds the distance of *rows* first. It belongs to the direction down, along a column; the SDK gives it
    to the other one, which is wrong where pixels are not square.
    """
    first, last = datasets[0], datasets[-1]
    across, down = np.reshape(np.asarray(first.ImageOrientationPatient, float), (2, 3))
    between_rows, between_columns = np.asarray(first.PixelSpacing, float)
    positions = [np.asarray(dataset.ImagePositionPatient, float) for dataset in (first, last)]
    lps = np.eye(4)
    lps[:3, 0] = across * between_columns
    lps[:3, 1] = down * between_rows
    lps[:3, 2] = (positions[1] - positions[0]) / (len(datasets) - 1)
    lps[:3, 3] = positions[0]
    return np.asarray(orientation_ras_lps(lps))
