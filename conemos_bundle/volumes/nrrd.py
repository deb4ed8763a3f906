"""Headers of NRRD files, attached and detached (``.nrrd``, ``.nhdr``): https://teem.sourceforge.net/nrrd/format.html."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.geometry import LPS_TO_RAS, Affine, header_error, same_folder, warn_once
from conemos_bundle.volumes.layout import Layout

LONGEST_HEADER = 1 << 22
TO_RAS = {
    "left-posterior-superior": LPS_TO_RAS, "lps": LPS_TO_RAS,
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]), "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "right-anterior-superior": np.eye(4), "ras": np.eye(4),
}  # fmt: skip
MM = {"": 1.0, "mm": 1.0, "millimeter": 1.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "cm": 10.0, "m": 1000.0}
ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
FIELDS = {
    "type", "dimension", "space", "spacedimension", "sizes", "spacedirections", "kinds", "endian", "encoding",
    "spaceorigin", "datafile", "byteskip", "lineskip", "spacings", "thicknesses", "axismins", "axismaxs", "centerings",
    "centers", "labels", "units", "spaceunits", "content", "blocksize", "min", "max", "oldmin", "oldmax", "number",
    "sampleunits", "measurementframe",
}  # fmt: skip
NOT_CHANNELS = ("domain", "space", "???", "none")


def read_layout(path: Path) -> Layout:
    """The header of a NRRD file; the affine honors ``space``, its directions and its units.

    Raises:
        UserError: the file is missing, no NRRD file, or has what cannot be placed or decoded here.
    """
    try:
        fields, keys, start = _fields(path)
        return _layout(path, fields, keys, start)
    except (OSError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise header_error(path, error) from error


def _fields(path: Path) -> tuple[dict[str, str], dict[str, str], int]:
    """Fields by their names without blanks, the file's own keys, and where the header ends."""
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    with path.open("rb") as file:
        if not re.fullmatch(rb"NRRD000[1-6]\r?\n", file.readline(16)):
            raise ValueError("no NRRD file")
        while file.tell() < LONGEST_HEADER:
            raw = file.readline(LONGEST_HEADER)
            line = raw.decode("utf-8", "replace").strip("\r\n")
            if not line:
                break
            if line.startswith("#"):
                continue
            own = re.match(r"([^:]+):=(.*)", line)
            if own:
                keys[own[1]] = own[2]
                continue
            name, colon, value = line.partition(":")
            name = re.sub(r"\s", "", name).lower()
            if not colon or name not in FIELDS or name in fields:
                raise ValueError(f"line {line[:40]!r} of its header")
            fields[name] = value.strip()
        return fields, keys, file.tell()


def _layout(path: Path, fields: dict[str, str], keys: dict[str, str], start: int) -> Layout:
    if not re.fullmatch(r"[0-9+-]+( +[0-9+-]+)*", fields["sizes"]):  # int() takes 0_8, and digits of any script
        raise ValueError(f"sizes {fields['sizes'][:40]!r}")
    sizes = tuple(int(size) for size in fields["sizes"].split())
    if len(sizes) != int(fields["dimension"]):
        raise ValueError("sizes and dimension disagree")
    types = [code for code, names in TYPES.items() if fields["type"].lower() in names.split(", ")]
    if not types:
        raise UserError(f"{path}: voxels of type {fields['type']!r} cannot be read; save it as numbers")
    if fields["encoding"].lower() not in ENCODINGS:
        raise UserError(f"{path}: encoding {fields['encoding']!r} cannot be read; save it as raw or gzip")
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if order is None and types[0][1] != "1":
        raise ValueError("endian is neither little nor big")
    directions = _directions(fields, len(sizes))
    kinds = fields.get("kinds", "").lower().split() or ["domain" if vector else "none" for vector in directions]
    if len(kinds) != len(sizes):
        raise ValueError("kinds and dimension disagree")
    channel_axis = _channel_axis(path, sizes, kinds, directions)
    data_file = path
    if "datafile" in fields:
        if re.match(r"LIST\b", fields["datafile"]) or "%" in fields["datafile"]:
            raise UserError(f"{path}: its voxels lie in several files; save it as one .nrrd file")
        data_file, start = same_folder(path, fields["datafile"]), 0
    elif path.name.lower().endswith(".nhdr"):
        raise ValueError("it names no data file")
    encoding = ENCODINGS[fields["encoding"].lower()]
    if int(fields.get("lineskip", 0)):
        raise UserError(f"{path}: 'line skip' cannot be read; save it as one .nrrd file")
    skip = int(fields.get("byteskip", 0))
    dtype = np.dtype((order or "<") + types[0])
    if skip == -1 and encoding == "raw":
        skip = data_file.stat().st_size - start - int(np.prod(sizes, dtype=object)) * dtype.itemsize
    if skip < 0:
        raise ValueError(f"byte skip {skip}")
    color = any("color" in kind or "complex" in kind for kind in kinds)
    return Layout(
        path=path,
        data_file=data_file,
        dtype=dtype,
        sizes=sizes,
        affine=_affine(path, fields, [vector for axis, vector in enumerate(directions) if axis != channel_axis]),
        channel_axis=channel_axis,
        encoding=encoding,
        start=start,
        skip=skip,
        colors=channel_axis == 0 or color,
        fields=keys,
    )


def _vectors(text: str) -> list[list[float] | None]:
    """``none (1,0,0) (0,1,0)`` as lists."""
    found = re.findall(r"none|\([^()]*\)", text)
    if re.sub(r"none|\([^()]*\)|\s", "", text):
        raise ValueError(f"directions {text[:40]!r}")
    return [None if each == "none" else [float(number) for number in each[1:-1].split(",")] for each in found]


def _directions(fields: dict[str, str], dimension: int) -> list[list[float] | None]:
    """A direction with the length of the spacing per axis; None where an axis has none."""
    if "spacedirections" in fields:
        directions = _vectors(fields["spacedirections"])
    else:
        spacings = [float(number) for number in fields["spacings"].split()]
        spatial = [axis for axis, spacing in enumerate(spacings) if not np.isnan(spacing)]
        directions = [None] * len(spacings)
        for place, axis in enumerate(spatial[:3]):
            directions[axis] = [spacings[axis] if place == other else 0.0 for other in range(3)]
        for axis in spatial[3:]:
            directions[axis] = [0.0, 0.0, 0.0, spacings[axis]]
    if len(directions) != dimension:
        raise ValueError("directions and dimension disagree")
    return directions


def _channel_axis(
    path: Path, sizes: Sequence[int], kinds: Sequence[str], directions: Sequence[list[float] | None]
) -> int | None:
    others = [axis for axis, (kind, way) in enumerate(zip(kinds, directions, strict=True)) if way is None]
    others = others or [axis for axis, kind in enumerate(kinds) if kind not in NOT_CHANNELS]
    if not others and len(sizes) == 4:
        return 3
    if len(others) > 1 or (others and others[0] not in (0, len(sizes) - 1)):
        raise UserError(f"{path}: only its first or last axis can be that of channels; give a 3D scan")
    return others[0] if others else None


def _affine(path: Path, fields: dict[str, str], directions: Sequence[list[float] | None]) -> Affine:
    space = fields.get("space", "").lower()
    if space and space not in TO_RAS:
        raise UserError(
            f"{path}: space {space!r} does not say where left and right are; save it as left-posterior-superior"
        )
    if not space:
        warn_once(path, "has no 'space': its directions are taken for left-posterior-superior, as ITK does")
    (origin,) = _vectors(fields["spaceorigin"]) if "spaceorigin" in fields else [[0.0] * 3]
    if "spaceorigin" not in fields and "axismins" in fields:
        raise UserError(f"{path}: 'axis mins' without a space origin; save it with a space and its directions")
    told = fields.get("spaceunits", '""')
    units = {unit.strip().lower() for unit in re.findall(r'"([^"]*)"', told)[:3]}
    if not re.fullmatch(r'("[^"]*"\s*)+', told) or len(units) != 1 or not units <= set(MM):
        raise UserError(f"{path}: space units {told} are not known; save it in mm")
    affine = np.eye(4)
    for axis, vector in enumerate(directions[:3]):
        if vector is None:
            raise ValueError("an axis without direction")
        affine[:3, axis] = vector[:3]
    affine[:3, 3] = (origin or [])[:3]
    affine[:3] *= MM[units.pop()]
    with np.errstate(invalid="ignore"):  # of infinite directions; `check_affine` refuses them
        return np.asarray(TO_RAS.get(space, LPS_TO_RAS) @ affine)
