"""Headers of NIfTI files: both forms, codes and units are the file's own; nothing is mended in silence."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.geometry import Affine, corner_distance, header_error, unreadable, warn_once
from conemos_bundle.volumes.layout import Layout
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}  # of a unit code: unknown, meter, mm, micron
FORM_CODES = range(6)
APART = 0.1  # voxels between the corners of sform and qform: more is no rounding (of quaternions in float32)


def read_layout(path: Path) -> Layout:
    """The header of a ``.nii`` or ``.nii.gz`` file, NIfTI-1 or -2.

    The affine is the sform where its code is above 0, else the qform where its code is, else nibabel's base affine of
    ``pixdim``; its unit is made mm.

    Raises:
        UserError: the file is missing, no NIfTI file, or its header contradicts itself.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        header = _header(path, packed)
        kind = header.get_data_dtype()
        start = float(header["vox_offset"])
        slope, inter = header.get_slope_inter()
        affine = header_affine(header, path)
        _compare(path, header)
    except (OSError, EOFError, ValueError, zlib.error, HeaderDataError, KeyError) as error:
        raise header_error(path, error) from error
    if not (np.isfinite(start) and start == int(start) and header.single_vox_offset <= start < 1e9):
        raise unreadable(path, f"its voxels cannot begin at byte {start:g}")
    if np.isinf(header["scl_slope"]):
        raise unreadable(path, "an infinite scl_slope")
    sizes = _sizes(path, header)
    return Layout(
        path=path,
        data_file=path,
        dtype=kind,
        sizes=sizes,
        affine=affine,
        channel_axis=3 if len(sizes) > 3 else None,
        encoding="gzip" if packed else "raw",
        skip=int(start),
        slope=1.0 if slope is None else float(slope),
        inter=0.0 if inter is None else float(inter),
        colors=kind.kind not in "iuf",
        nifti_header=_as_nifti1(header),
    )


def _header(path: Path, packed: bool) -> Any:
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if is_gzip != packed:
            raise UserError(
                f"{path}: cannot be read as an image ("
                + (f"it is compressed: rename it {path.name}.gz)" if is_gzip else "not compressed: call it .nii)")
            )
        start: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        block = start.read(Nifti1Header.sizeof_hdr)
        if len(block) < Nifti1Header.sizeof_hdr:
            raise EOFError("truncated: it ends within its header")
        sizes = {int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")}
        if Nifti2Header.sizeof_hdr in sizes:
            block += start.read(Nifti2Header.sizeof_hdr - len(block))
            kind: Any = Nifti2Header
        elif Nifti1Header.sizeof_hdr in sizes:
            kind = Nifti1Header
        else:
            raise ValueError("no NIfTI file")
    order = "<" if int.from_bytes(block[:4], "little") == kind.sizeof_hdr else ">"
    header = kind(block, endianness=order, check=False)
    if header["magic"].item() != kind.single_magic:
        raise ValueError("no NIfTI file of one piece by its magic number")
    return header


def _sizes(path: Path, header: Any) -> tuple[int, ...]:
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise unreadable(path, f"an image of {count} dimensions")
    return tuple(int(length) for length in header["dim"][1 : 1 + count])


def header_affine(header: Any, path: object = "its header") -> Affine:
    """Voxel to mm in RAS: sform, qform or base affine, whichever comes first with a code above 0, in the header's unit.

    Raises:
        UserError: an unknown unit, a form code without meaning, or without an sform a spacing that is not positive.
    """
    unit = int(header["xyzt_units"]) & 7
    if unit not in MM:
        raise UserError(f"{path}: an unknown unit of length (xyzt_units {unit}); set it to mm")
    codes = {form: int(header[f"{form}_code"]) for form in ("sform", "qform")}
    for form, code in codes.items():
        if code not in FORM_CODES:
            raise UserError(f"{path}: {form}_code {code} has no meaning; export the scan again")
    if header["pixdim"][0] == 0:  # stands for 1, says the standard
        header["pixdim"][0] = 1
    if codes["sform"]:
        affine = np.asarray(header.get_sform(), float)
    else:
        if (
            np.asarray(header["pixdim"][1:4]) <= 0
        ).any():  # NaN comes later; readers disagree on what a negative one means
            raise UserError(f"{path}: its voxel spacing (pixdim) is not positive; export the scan again")
        affine = np.asarray(header.get_qform() if codes["qform"] else header.get_base_affine(), float)
    affine[:3] *= MM[unit]
    return affine


def _compare(path: Path, header: Any) -> None:
    """Warn where the header has no form, or its sform, which is used, is not what the qform or ``pixdim`` say."""
    if not header["sform_code"]:
        if not header["qform_code"]:
            warn_once(path, "has neither sform nor qform: its spacing is known, its orientation is a guess (nibabel's)")
        return
    sform, pixdim = np.asarray(header.get_sform(), float), np.asarray(header["pixdim"][1:4], float)
    spacing = np.linalg.norm(sform[:3, :3], axis=0)
    if header["qform_code"]:
        try:
            apart = corner_distance([max(1, int(n)) for n in header["dim"][1:4]], sform, header.get_qform())
        except (HeaderDataError, ValueError):
            apart = np.inf
        if apart > APART * spacing.min():
            warn_once(path, f"sform and qform disagree, by up to {apart:.3g} at its corners; the sform was used")
            return
    if not np.allclose(spacing, np.abs(pixdim), rtol=1e-2, atol=0):
        told, used = (" x ".join(f"{length:.4g}" for length in each) for each in (pixdim, spacing))
        warn_once(path, f"pixdim says voxels of {told}, the sform {used}; the sform was used")


def _as_nifti1(header: Any) -> bytes:
    """The header of a result: 348 bytes with the forms, codes, units and intent of the scan."""
    if isinstance(header, Nifti1Header) and not isinstance(header, Nifti2Header):
        return bytes(header.binaryblock)
    short = Nifti1Header()
    for name in ("qform_code", "sform_code", "xyzt_units", "intent_code", "intent_p1", "intent_p2", "intent_p3"):
        short[name] = header[name]
    for name in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "pixdim", "intent_name"):
        short[name] = header[name]
    short["dim"] = np.minimum(header["dim"], np.iinfo(np.int16).max)  # longer axes do not fit a NIfTI-1 file at all
    for name in ("srow_x", "srow_y", "srow_z"):
        short[name] = header[name]
    return bytes(short.binaryblock)
