"""A program: decodes the pixels of compressed DICOM files by ITK; `dicom_pixels` runs it and survives its end.

Input: a JSON list of files, each with the precision of its pixels in bits. Output, per file: a line of JSON with
``type``, ``shape`` and ``bytes``, and these bytes; a line ``{}`` where a file cannot be decoded. Values are as stored:
neither rescaled, inverted nor cut.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import BinaryIO

import itk
import numpy as np
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage

# all that decoding needs: other tags can do no harm, and no rescaling takes place
PIXEL_TAGS = [
    "SOPInstanceUID", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelData",
]  # fmt: skip


def decode(file: str, bits: int, folder: Path, output: BinaryIO) -> None:
    """Write one file's values."""
    dataset = dcmread(file, specific_tags=PIXEL_TAGS)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsStored, dataset.HighBit = bits, bits - 1  # where fewer are given, ITK cuts the values to them
    dataset.save_as(folder / "slice.dcm")
    values = np.ascontiguousarray(itk.array_from_image(itk.imread(str(folder / "slice.dcm"))))
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    if values.dtype.kind not in "iu":
        raise ValueError("not whole numbers")
    header = {"type": values.dtype.newbyteorder("=").str, "shape": values.shape, "bytes": values.nbytes}
    output.write(json.dumps(header).encode() + b"\n" + values.tobytes())


def main() -> None:
    """Decode the files named on the standard input."""
    warnings.simplefilter("ignore")
    files = json.load(sys.stdin)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not stand among the values
    with tempfile.TemporaryDirectory() as folder:
        for file, bits in files:
            try:
                decode(file, bits, Path(folder), output)
            except Exception:  # libraries raise whatever they like; the caller names the file
                output.write(b"{}\n")
            output.flush()


if __name__ == "__main__":
    main()
