"""What compressed pixels say of themselves: their size stands in the header and in the codestream, and must agree.

Decoders do not mind: a header with fewer rows gives fewer rows, one with fewer bits cuts the values, without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from conemos_bundle.volumes.dicom_files import transfer_syntax
from pydicom import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

_JPEG_LOSSLESS = UID("1.2.840.10008.1.2.4.57")  # its keyword differs between versions of pydicom
_JPEG_2000 = (JPEG2000, JPEG2000Lossless)
_JPEG = (
    JPEGBaseline8Bit, JPEGExtended12Bit, _JPEG_LOSSLESS, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless,
)  # fmt: skip
COMPRESSED = (RLELossless, *_JPEG, *_JPEG_2000)  # what ITK decodes
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_NO_SIZE = {0xC4, 0xC8, 0xCC}  # markers among the frames' that describe tables


class Frame(NamedTuple):
    """Size of a codestream; ``signed`` is None where it does not tell."""

    rows: int
    columns: int
    bits: int
    components: int
    signed: bool | None


def codestream_problem(header: Dataset) -> str:
    """What is wrong with the compressed pixels of a file whose other tags were checked; an empty text if nothing is.

    The precision goes to ``header.pixels``.

    RLE has no size of its own: its runs are counted, so call this for one slice of a series there.
    """
    with open(header.filename, "rb") as stream:
        stream.seek(header.pixels.offset)
        fragments = list(_fragments(stream, header.pixels.there))
        if len(fragments) < 2 or fragments[-1] is not None:
            return "its pixels are missing or truncated; export the series again"
        data = b"".join(_read(stream, *place) for place in fragments[1:-1] if place is not None)
    expected = int(header.Rows) * int(header.Columns)
    if transfer_syntax(header) == RLELossless:
        lengths = rle_lengths(data)
        fits = len(lengths) == int(header.BitsAllocated) // 8
        if fits and all(0 <= length - expected <= 1 for length in lengths):
            return ""
        return "its pixels are damaged, or not of the size that its header has; export the series again"
    frame = _jpeg_2000(data) if transfer_syntax(header) in _JPEG_2000 else _jpeg(data)
    if frame is None:
        return unreadable(header)
    header.pixels = header.pixels._replace(bits=frame.bits)
    shown = f"{frame.rows} x {frame.columns} of {frame.bits} bits" + (
        f" in {frame.components} colors" * (frame[3] != 1)
    )
    wrong_size = (frame.rows, frame.columns, frame.components) != (int(header.Rows), int(header.Columns), 1)
    if wrong_size or frame.bits > int(header.BitsAllocated):
        return f"its compressed pixels are {shown}, its header says otherwise; export the series again"
    if frame.signed not in (None, bool(int(header.PixelRepresentation))):
        return "its compressed pixels and its header differ in PixelRepresentation; export the series again"
    return ""


def unreadable(header: Dataset) -> str:
    """The refusal of pixels that nothing decodes."""
    syntax = getattr(transfer_syntax(header), "name", "unknown")
    return f"its pixels cannot be read (transfer syntax {syntax}); export the series again, uncompressed"


def rle_lengths(data: bytes) -> list[int]:
    """Decoded length in bytes of each segment of an RLE frame."""
    count = int.from_bytes(data[:4], "little")
    if not 1 <= count <= 15 or len(data) < 64:
        return []
    starts = [int.from_bytes(data[4 * k + 4 : 4 * k + 8], "little") for k in range(count)] + [len(data)]
    return [_rle_length(data[start:stop]) for start, stop in pairwise(starts)]


def _rle_length(segment: bytes) -> int:
    length = at = 0
    while at < len(segment) - 1:  # the last byte alone is padding
        run = segment[at]
        copied = run + 1 if run < 128 else 0
        length += copied or (257 - run if run > 128 else 0)
        at += 1 + (copied or (run > 128))
    return length


def _fragments(stream: BinaryIO, there: int) -> Iterator[tuple[int, int] | None]:
    """Places and lengths of the items, the offset table first; None at last where the sequence ends as it should."""
    end = stream.tell() + there
    while True:
        head = stream.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == _END:
            yield None
            return
        if head[:4] != _ITEM or stream.tell() + length > end:
            return
        yield stream.tell(), length
        stream.seek(length, 1)


def _read(stream: BinaryIO, offset: int, length: int) -> bytes:
    stream.seek(offset)
    return stream.read(length)


def _jpeg(data: bytes) -> Frame | None:
    """JPEG and JPEG-LS: the segment that begins with a marker C0 to CF, or F7."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in _NO_SIZE):
            rows, columns = (int.from_bytes(data[at + k : at + k + 2], "big") for k in (5, 7))
            return Frame(rows, columns, data[at + 4], data[at + 9], None)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _jpeg_2000(data: bytes) -> Frame | None:
    """The SIZ segment, which stands right behind the start of a codestream, whatever boxes are around it."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 43 > len(data):
        return None
    right, bottom, left, top = (int.from_bytes(data[at + k : at + k + 4], "big") for k in (8, 12, 16, 20))
    depth = data[at + 42]
    components = int.from_bytes(data[at + 40 : at + 42], "big")
    return Frame(bottom - top, right - left, (depth & 127) + 1, components, bool(depth & 128))
