"""Grey values and affine of a sorted DICOM series, read by ITK as MONAI reads them.

The SDK's own reading is not used. It gives the two pixel spacings to the wrong directions (seen where pixels are not
square), takes the first slice's number type for all (fractions are lost where that slice is empty), and inverts
MONOCHROME1 after the rescaling. Even affines equal to the last digit matter: a resampled size may hang on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import itk
import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError
from monai.data import ITKReader
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import get_expected_length


def check_pixels(headers: Sequence[Dataset]) -> None:
    """Look whether every image has all its pixels; ITK would fill up what is missing.

    Raises:
        UserError: a file has no pixels, or is truncated.
    """
    for header in headers:
        dataset = dcmread(header.filename)
        pixels = dataset.get("PixelData")
        complete = bool(pixels)
        if complete and not dataset.file_meta.TransferSyntaxUID.is_compressed:
            complete = len(pixels) >= get_expected_length(dataset)
        if not complete:
            raise UserError(f"{header.filename}: its pixels are missing or truncated; export the series again")


def read_volume(headers: Sequence[Dataset]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Read the files of a sorted series.

    In float from the start, so that slices may have rescale slopes of their own.

    Returns:
        grey values ``(W, H, D)``, and the affine: 4x4, voxel ``(column, row, slice)`` to mm in RAS+.

    Raises:
        UserError: the pixels are compressed in a way that ITK does not know, or damaged.
    """
    try:
        image = itk.imread([str(header.filename) for header in headers], itk.F)
    except RuntimeError as error:
        syntax = getattr(headers[0].file_meta.get("TransferSyntaxUID"), "name", "unknown")
        raise UserError(
            f"series {headers[0].SeriesInstanceUID}: its pixels cannot be read (transfer syntax {syntax}); "
            "export the series again, uncompressed"
        ) from error
    voxels, meta = ITKReader().get_data(image)
    return np.ascontiguousarray(voxels, np.float32), np.asarray(meta["original_affine"], float)
