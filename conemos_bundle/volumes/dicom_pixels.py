"""Gray values of slices: stored numbers, rescaled per slice.

Uncompressed pixels are plain numbers in the file. Compressed ones are decoded by ITK in a process of its own, since
its libraries may end the process that they run in when data are damaged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.dicom_codestream import COMPRESSED, codestream_problem, unreadable
from conemos_bundle.volumes.dicom_files import transfer_syntax
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

NATIVE = (
    None, ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
)  # fmt: skip
MISSING = "its pixels are missing or truncated; export the series again"
DECODER = Path(__file__).with_name("dicom_decoder.py")
# -I: no module of the working directory, which may be the folder of slices
START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from conemos_bundle.utils.processes import end_with_parent; end_with_parent(int(sys.argv[3])); "
    "runpy.run_path(sys.argv[2], run_name='__main__')"
)
PATIENCE = 120  # seconds for the decoder to start, and 2 more per slice


def check_pixels(headers: Sequence[Dataset]) -> None:
    """Whether every file has all its pixels, by its header and length.

    Raises:
        UserError: a file has no pixels, is truncated, or has not as many as its rows and columns say.
    """
    for index, header in enumerate(headers):
        syntax = transfer_syntax(header)
        compressed = syntax in COMPRESSED
        if not compressed and syntax not in NATIVE:
            raise UserError(f"{header.filename}: {unreadable(header)}")
        if not header.pixels.found or compressed != (header.pixels.length is None):
            raise UserError(f"{header.filename}: {MISSING}")
        if compressed and (syntax != RLELossless or index == 0):
            problem = codestream_problem(header)
            if problem:
                raise UserError(f"{header.filename}: {problem}")
        elif header.pixels.length is not None and header.pixels.length >= 0:
            _reject_wrong_length(header, header.pixels.length, header.pixels.there)


def read_pixels(headers: Sequence[Dataset]) -> npt.NDArray[np.float32]:
    """Read the pixels of a sorted series whose headers were checked.

    Each slice is rescaled by its own slope and intercept, in float64. MONOCHROME1 (the lowest value is white) is turned
    round, as ITK does: v becomes ``2^BitsStored - 1 - v``, or ``-1 - v`` where values are signed, before the rescaling.

    Returns:
        gray values ``(W, H, D)``.

    Raises:
        UserError: pixels are missing, damaged, or compressed in a way that ITK does not know.
    """
    compressed = [header for header in headers if header.pixels.length is None]
    decoded = _decode(compressed)
    volume = np.empty((len(headers), int(headers[0].Rows), int(headers[0].Columns)), np.float32)
    for index, header in enumerate(headers):
        stored = next(decoded) if header.pixels.length is None else _native(header)
        volume[index] = _rescaled(header, stored)
        if not np.isfinite(volume[index]).all():
            raise UserError(f"{header.filename}: its values are too large; export the series again")
    return np.ascontiguousarray(volume.T)


def _bytes(header: Dataset) -> int:
    return int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) // 8


def _reject_wrong_length(header: Dataset, length: int, there: int) -> None:
    """An even length is padded; more than that means that rows and columns are not those of the pixels."""
    expected = _bytes(header)
    if min(length, there) < expected:
        raise UserError(f"{header.filename}: {MISSING}")
    if length - expected > 1:
        raise UserError(
            f"{header.filename}: has {length} bytes of pixels where {header.Rows} x {header.Columns} of "
            f"{header.BitsAllocated} bits are {expected}; export the series again"
        )


def _native(header: Dataset) -> npt.NDArray[Any]:
    """Stored numbers ``(H, W)`` of an uncompressed file, in the number type of this slice."""
    pixels, expected = header.pixels, _bytes(header)
    try:
        if pixels.length == -1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = dcmread(header.filename).get("PixelData") or b""
            _reject_wrong_length(header, len(data), len(data))
        else:
            with open(header.filename, "rb") as stream:
                stream.seek(pixels.offset)
                data = stream.read(expected)
    except UserError:
        raise
    except Exception as error:  # damaged bytes raise whatever they like
        raise UserError(f"{header.filename}: cannot be read ({type(error).__name__}); export it again") from error
    if len(data) < expected:
        raise UserError(f"{header.filename}: {MISSING}")
    size = int(header.BitsAllocated) // 8
    values = np.frombuffer(data, f"{'>' if pixels.big_endian else '<'}u{size}", int(header.Rows) * int(header.Columns))
    if pixels.big_endian and size == 1 and pixels.vr == "OW":  # two pixels per word, the second one first
        swapped = np.frombuffer(data[: expected + expected % 2].ljust(expected + expected % 2, b"\0"), "<u2").byteswap()
        values = np.frombuffer(swapped.tobytes(), "u1", len(values))
    return values.reshape(int(header.Rows), int(header.Columns))


def _rescaled(header: Dataset, stored: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    bits, signed = int(header.BitsStored), int(header.PixelRepresentation)
    values = stored.astype(np.int64) & (2**bits - 1)  # bits above may hold an overlay
    if signed:
        values -= (values >> (bits - 1)) << bits
    if header.PhotometricInterpretation == "MONOCHROME1":
        values = (-1 if signed else 2**bits - 1) - values
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    return values * slope + intercept


def _fitting(header: Dataset, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Compressed pixels have a size of their own: the header must say the same."""
    bits = int(header.BitsStored)
    low = -(2 ** (bits - 1)) if int(header.PixelRepresentation) else 0
    if values.dtype.itemsize * 8 > int(header.BitsAllocated) or values.min() < low or values.max() >= 2**bits:
        raise UserError(f"{header.filename}: its pixels do not fit {bits} bits, as its header has it; export it again")
    return values


def _decode(headers: Sequence[Dataset]) -> Iterator[npt.NDArray[Any]]:
    """Stored numbers ``(H, W)`` of compressed files, one by one.

    Raises:
        UserError: one cannot be decoded, or the decoder ended.
    """
    if not headers:
        return
    command = [sys.executable, "-I", "-c", START, json.dumps(sys.path), str(DECODER), str(os.getpid())]
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    timer = threading.Timer(PATIENCE + 2 * len(headers), process.kill)
    timer.start()
    assert process.stdin is not None and process.stdout is not None
    try:
        wanted = [(header.filename, header.pixels.bits or int(header.BitsAllocated)) for header in headers]
        process.stdin.write(json.dumps(wanted).encode())
        process.stdin.close()
        for header in headers:
            shape = (int(header.Rows), int(header.Columns))
            answer = json.loads(process.stdout.readline() or b"{}")
            data = process.stdout.read(answer.get("bytes", 0))
            if answer.get("shape") != list(shape) or len(data) != answer["bytes"]:
                raise UserError(f"{header.filename}: {unreadable(header)}")
            yield _fitting(header, np.frombuffer(data, answer["type"]).reshape(shape))
    finally:
        timer.cancel()
        process.kill()
        process.stdout.close()
        process.wait()
