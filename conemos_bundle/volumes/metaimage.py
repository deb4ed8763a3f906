"""Headers of MetaImage files, attached and detached (``.mha``, ``.mhd``): https://itk.org/Wiki/ITK/MetaIO."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.geometry import LPS_TO_RAS, Affine, header_error, same_folder, warn_once
from conemos_bundle.volumes.layout import Layout

LONGEST_HEADER = 1 << 22
TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4", "ULONG": "u4",
    "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip
MM = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1000.0, "?": 1.0}
SYNONYMS = {
    "Orientation": "TransformMatrix", "Rotation": "TransformMatrix", "Position": "Offset", "Origin": "Offset",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}  # fmt: skip


def read_layout(path: Path) -> Layout:
    """The header of a MetaImage file; the affine honors its matrix, offset and ``DistanceUnits``.

    Raises:
        UserError: the file is missing, no MetaImage, or has what cannot be placed or decoded here.
    """
    try:
        fields, start = _fields(path)
        return _layout(path, fields, start)
    except (OSError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise header_error(path, error) from error


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields by name, and where the header ends: after ``ElementDataFile``."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields and file.tell() < LONGEST_HEADER:
            raw = file.readline(LONGEST_HEADER)
            line = raw.decode("latin-1").strip()
            if not raw:
                raise ValueError("no MetaImage file")
            name, equals, value = (part.strip() for part in line.partition("="))
            if not line:
                continue
            name = SYNONYMS.get(name, name)
            if not equals or not (name.isprintable() and name.isascii()) or name in fields:
                raise ValueError("no MetaImage file" if not fields else f"line {line[:40]!r} of its header")
            fields[name] = value
        return fields, file.tell()


def _layout(path: Path, fields: dict[str, str], start: int) -> Layout:
    sizes = tuple(int(size) for size in fields["DimSize"].split())
    if len(sizes) != int(fields["NDims"]):
        raise ValueError("DimSize and NDims disagree")
    if fields.get("ObjectType", "Image").lower() != "image" or not _is_true(fields, "BinaryData", True):
        raise UserError(f"{path}: no image in binary; save it again as .mha")
    told = fields["ElementType"].removeprefix("MET_")
    if told.removesuffix("_ARRAY") not in TYPES:
        raise UserError(f"{path}: voxels of type {fields['ElementType']!r} cannot be read; save it as numbers")
    msb = _is_true(fields, "BinaryDataByteOrderMSB", False)
    dtype = np.dtype((">" if msb else "<") + TYPES[told.removesuffix("_ARRAY")])
    components = int(fields.get("ElementNumberOfChannels", 1))
    if components > 1:
        sizes = (components, *sizes)
    if components < 1 or not 2 <= len(sizes) <= 16:
        raise ValueError(f"{components} channels")
    data_file = path
    name = fields["ElementDataFile"]
    if name.upper() != "LOCAL":
        if name.upper().startswith("LIST") or "%" in name:
            raise UserError(f"{path}: its voxels lie in several files; save it as one .mha file")
        data_file, start = same_folder(path, name), 0
    header = int(fields.get("HeaderSize", 0)) if data_file != path else 0
    packed = _is_true(fields, "CompressedData", False)
    if header == -1 and not packed:
        header = os.path.getsize(data_file) - int(np.prod(sizes, dtype=object)) * dtype.itemsize
    if header < 0:
        raise ValueError(f"HeaderSize {header}")
    return Layout(
        path=path,
        data_file=data_file,
        dtype=dtype,
        sizes=sizes,
        affine=_affine(path, fields, int(fields["NDims"])),
        channel_axis=0 if components > 1 else 3 if len(sizes) == 4 else None,
        encoding="zlib" if packed else "raw",
        start=start + header,
        colors=components > 1,
    )


def _is_true(fields: dict[str, str], name: str, default: bool) -> bool:
    value = fields.get(name, str(default)).lower()
    if value not in ("true", "false", "1", "0", "t", "f"):
        raise ValueError(f"{name} = {value[:20]}")
    return value[0] in "t1"


def _affine(path: Path, fields: dict[str, str], dimension: int) -> Affine:
    unit = fields.get("DistanceUnits", "?").lower()
    if unit not in MM:
        raise UserError(f"{path}: DistanceUnits {unit!r} are not known; save it in mm")
    spacing = _numbers(fields, "ElementSpacing" if "ElementSpacing" in fields else "ElementSize", dimension)
    offset = _numbers(fields, "Offset", dimension) if "Offset" in fields else np.zeros(dimension)
    matrix = np.eye(dimension)
    if "TransformMatrix" in fields:  # a line per axis of the voxels
        matrix = _numbers(fields, "TransformMatrix", dimension**2).reshape(dimension, dimension).T
        lengths = np.linalg.norm(matrix, axis=0)
        if (np.abs(lengths - 1) > 1e-3)[
            lengths > 0
        ].any():  # viewers differ: some normalize it, some multiply the spacing by it
            raise UserError(f"{path}: TransformMatrix holds no unit vectors; export the scan again")
    else:
        warn_once(path, "has no TransformMatrix: its axes are taken to point left, back and up (LPS), as ITK does")
    if not (spacing > 0).all():
        raise UserError(f"{path}: a voxel spacing of {fields.get('ElementSpacing')} mm; export the scan again")
    affine = np.eye(4)
    if dimension >= 3:
        affine[:3, :3] = matrix[:3, :3] * spacing[:3]
        affine[:3, 3] = offset[:3]
    affine[:3] *= MM[unit]
    return np.asarray(LPS_TO_RAS @ affine)


def _numbers(fields: dict[str, str], name: str, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    numbers = [float(number) for number in fields[name].split()]
    if len(numbers) != count:
        raise ValueError(f"{name} has {len(numbers)} numbers, not {count}")
    return np.array(numbers)
