"""The DICOM files of a folder by their series; none is dropped without a word."""

from __future__ import annotations

import os
import warnings
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from conemos_bundle.errors import UserError
from conemos_bundle.volumes.dicom_tags import tag_value
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

# objects that are made from scans and lie beside them, with rows and columns or without
NOT_SCANS = ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTIMAGE", "PR", "SR", "KO", "REG", "DOC")
MOST_BYTES = 1 << 28  # of one inflated file
_CHUNK = 1 << 20
EXTENSIONS = (".dcm", ".ima", ".dicom", ".dic")
_SIEMENS_NON_IMAGE = "1.3.12.2.1107.5.9.1"
_OF_IMAGES = ("Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "BitsAllocated")
_INDEX = "1.2.840.10008.1.3.10"  # DICOMDIR by any other name
_PIXEL_VRS = (b"OB", b"OW", b"UN")  # as the length that stands there without a VR, each would be odd: none is
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # of a file without a preamble; the last one: big endian


class Pixels(NamedTuple):
    """Where the pixels of a file stand, as far as its header tells.

    ``length`` is in bytes, as the header says; None: compressed, in items; -1: of a deflated file, not known yet.
    ``there`` is how many bytes the file has from ``offset`` on; ``bits`` is the precision of a codestream, once known.
    """

    found: bool
    offset: int = 0
    length: int | None = 0
    there: int = 0
    big_endian: bool = False
    vr: str = ""
    bits: int = 0


def transfer_syntax(header: Dataset) -> UID | None:
    """How a file is encoded, by its meta information; None where it has none."""
    return getattr(header, "file_meta", {}).get("TransferSyntaxUID")


def is_dicom(file: Path) -> bool:
    """Whether a file is a DICOM file by its extension or its first bytes; DICOMDIR is an index, not an image.

    Raises:
        UserError: it cannot be read.
    """
    if file.name.upper() == "DICOMDIR":
        return False
    return file.suffix.lower() in EXTENSIONS or _begins_as_dicom(file)


def is_seg(file: Path) -> bool:
    """Whether a file is a DICOM SEG, as far as its header tells."""
    try:
        return bool(tag_value(dcmread(file, stop_before_pixels=True), "Modality") == "SEG")
    except Exception:  # damaged bytes raise whatever they like
        return False


def series_in(folder: Path, tags: Sequence[str] | None = None) -> list[list[Dataset]]:
    """The headers of the scans in ``folder`` and its folders, a list per series, sorted by SeriesInstanceUID.

    Passed over are: hidden files, DICOMDIR, files that are neither DICOM nor called like the DICOM files beside them,
    and objects of series of their own that are no scans (structured reports, segmentations, doses, …).

    Args:
        folder: a folder.
        tags: keywords of the tags to parse; None: all.

    Returns:
        datasets without pixels, each with its ``filename`` and, as ``pixels``, where these stand (`Pixels`).

    Raises:
        UserError: a file cannot be read, is empty, truncated or no DICOM file in spite of its name.
    """
    files = _files(folder)
    scans: dict[str, list[Dataset]] = defaultdict(list)
    others: dict[str, list[Dataset]] = defaultdict(list)
    headers = {file: header for file in files if (header := _header(file, tags)) is not None}
    _reject_non_dicom(folder, files, headers)
    for file, header in headers.items():
        if str(tag_value(header, "SOPClassUID")) == _INDEX:
            continue
        uid = str(tag_value(header, "SeriesInstanceUID") or "").strip()
        if not uid and "Rows" not in header:
            raise UserError(f"{file}: this DICOM file cannot be read; export the series again, or remove the file")
        if not uid:
            raise UserError(
                f"{file}: has no readable SeriesInstanceUID, which every image of a series must have; "
                "export the series again, or leave out this file if it is no part of the scan"
            )
        (others if _is_no_scan(header) else scans)[uid].append(header)
    for uid, objects in others.items():
        if uid in scans:
            first = Path(scans[uid][0].filename).name
            raise UserError(
                f"{objects[0].filename}: truncated, or no image of a scan, in one series with {first}; "
                "send the whole series again, or leave out this file if it is no part of the scan"
            )
    return [scans[uid] for uid in sorted(scans)]


def _is_no_scan(header: Dataset) -> bool:
    """By what the object says it is; an image that lacks what images have is a damaged one.

    Raises:
        UserError: an image without rows: all behind it is missing.
    """
    if tag_value(header, "Modality") in NOT_SCANS:
        return True
    if "Rows" in header or header.pixels.found:
        return False
    kind = tag_value(header, "SOPClassUID")
    name = getattr(kind, "name", kind)
    if kind == _SIEMENS_NON_IMAGE or (name != kind and "Image Storage" not in name):  # raw data, spectra, …
        return True
    if kind is not None and kind.is_private and not any(tag in header for tag in _OF_IMAGES):  # Philips', GE's, Canon's
        return True
    raise UserError(f"{header.filename}: truncated: has no readable Rows; send the whole series again")


def _files(folder: Path) -> list[Path]:
    """All that may be a slice; links that lead nowhere too, which cannot be opened then."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); check it and its rights") from error

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = [Path(place, name) for name in names if not name.startswith(".") and name.upper() != "DICOMDIR"]
        found += [file for file in files if file.is_file() or file.is_symlink()]
    return sorted(found)


def _reject_non_dicom(folder: Path, files: Sequence[Path], headers: dict[Path, Dataset]) -> None:
    """Refuse files that were slices by their names, but are damaged, empty or something else."""
    used = {_kind(file) for file in headers} | set(EXTENSIONS)
    for file in files:
        if file in headers:
            continue
        empty = file.stat().st_size == 0
        names = {suffix.lower() for suffix in file.suffixes}  # 1.dcm.part is half a slice
        if _kind(file) in used or names & set(EXTENSIONS) or (empty and not _kind(file)):
            what = "is empty" if empty else "no DICOM file in spite of its name"
            raise UserError(f"{file}: {what}; remove it, or export it again")


def _kind(file: Path) -> str:
    """The extension; none where it is a number, as in files that are called by their UID."""
    return "" if file.suffix[1:].isdecimal() else file.suffix.lower()


def _header(file: Path, tags: Sequence[str] | None) -> Dataset | None:
    """A DICOM file's header, with the place of its pixels; None for other files."""
    try:
        if file.exists() and not file.is_file():  # a link to a pipe or a device, which might never end
            raise OSError("not a file")
        with file.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _reject_bomb(stream, file)
            wanted = list(tags) if tags else None
            try:
                header = dcmread(stream, stop_before_pixels=True, specific_tags=wanted)
            except InvalidDicomError:
                stream.seek(0)
                if not _begins_as_dicom(file):
                    return None
                header = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=wanted)
            header.filename, header.pixels = str(file), _find_pixels(stream, header)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); check it and its rights") from error
    except UserError:
        raise
    except Exception as error:  # damaged bytes raise whatever they like
        raise UserError(
            f"{file}: this DICOM file cannot be read ({type(error).__name__}); export the series again"
        ) from error
    return header


def _reject_bomb(stream: BinaryIO, file: Path) -> None:
    """pydicom inflates a deflated file as a whole: look first how large it becomes."""
    start = stream.read(144)  # preamble, "DICM", the length of the meta information
    if start[128:132] == b"DICM" and start[132:136] == b"\x02\x00\x00\x00":
        meta = stream.read(min(int.from_bytes(start[140:144], "little"), 1 << 16))
        if DeflatedExplicitVRLittleEndian.encode() in meta:
            decoder, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
            packed = stream.read(_CHUNK)
            while packed and not decoder.eof:
                size += len(decoder.decompress(packed, _CHUNK))
                packed = decoder.unconsumed_tail or stream.read(_CHUNK)
                if size > MOST_BYTES:
                    raise UserError(f"{file}: becomes larger than {MOST_BYTES >> 20} MB; export it again, not deflated")
    stream.seek(0)


def _begins_as_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); check it and its rights") from error
    if start[128:] == b"DICM":
        return True
    return len(start) == 132 and start[:2] in _FIRST_GROUPS and 0 in start[2:4] and 0 in start[4:12]


def _find_pixels(stream: BinaryIO, header: Dataset) -> Pixels:
    """The stream stands before the element of the pixels, where pydicom stopped, or at the end."""
    if transfer_syntax(header) == DeflatedExplicitVRLittleEndian:
        return Pixels(True, length=-1)
    element = stream.read(12)
    big_endian = element[:4] == b"\x7f\xe0\x00\x10"
    if not big_endian and element[:4] != b"\xe0\x7f\x10\x00":
        return Pixels(False)
    explicit = element[4:6] in _PIXEL_VRS
    length = int.from_bytes(element[8:12] if explicit else element[4:8], "big" if big_endian else "little")
    offset = stream.tell() - (0 if explicit else 4)
    there = stream.seek(0, 2) - offset
    vr = element[4:6].decode("ascii") if explicit else "OW"
    return Pixels(True, offset, None if length == 0xFFFFFFFF else length, there, big_endian, vr)
