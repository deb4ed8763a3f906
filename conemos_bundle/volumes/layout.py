"""Voxels of a file by its layout, to the last byte: checksums, lengths, and nothing behind them."""

from __future__ import annotations

import bz2
import gzip
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.geometry import Affine, Geometry, check_affine, check_size, unreadable

WHOLE = 1e-3  # how far a label that is stored as a float may be from a whole number
_CHUNK = 1 << 20
_SMALLEST_PART = {"raw": 1, "gzip": 1100, "zlib": 1100, "bzip2": 10**6}  # what one byte may become at most


@dataclass(frozen=True)
class Layout:
    """A header: where the voxels stand, how they are stored, and where they lie in space.

    ``sizes`` are in the file's order, the fastest axis first; ``channel_axis`` is the one of them that counts channels.
    Bytes begin at ``start`` of ``data_file`` and at ``skip`` of what these decode to.
    """

    path: Path
    data_file: Path
    dtype: np.dtype[Any]
    sizes: tuple[int, ...]
    affine: Affine
    channel_axis: int | None = None
    encoding: str = "raw"
    start: int = 0
    skip: int = 0
    slope: float = 1.0
    inter: float = 0.0
    colors: bool = False
    nifti_header: bytes | None = None
    fields: dict[str, str] = field(default_factory=dict)

    def geometry(self) -> Geometry:
        """
        Raises:
            UserError: not 3D or 4D, a place or size that no scan has, or more voxels than the file can hold.
        """
        size = " x ".join(str(length) for length in self.sizes)
        if len(self.sizes) > 4:
            raise UserError(f"{self.path}: an image of {size}; give a 3D scan, or a 4D one with channels last")
        if len(self.sizes) < 3 or (len(self.sizes) == 3 and self.channel_axis is not None):
            raise UserError(f"{self.path}: a 2D image of {size}; give a 3D scan")
        check_size(self.path, self.sizes, self.dtype.itemsize)
        check_affine(self.path, self.affine)
        there = self.data_file.stat().st_size - self.start
        if there * _SMALLEST_PART[self.encoding] < self.skip + self.bytes_of_voxels:
            raise unreadable(self.path, f"truncated: {size} voxels cannot be in {max(there, 0)} bytes")
        shape = [length for axis, length in enumerate(self.sizes) if axis != self.channel_axis]
        channels = 1 if self.channel_axis is None else self.sizes[self.channel_axis]
        return Geometry((shape[0], shape[1], shape[2]), channels, self.affine)

    @property
    def bytes_of_voxels(self) -> int:
        """How many bytes the voxels take once they are decoded."""
        return math.prod(self.sizes) * self.dtype.itemsize

    def voxels(self) -> npt.NDArray[Any]:
        """Values ``(C, D, H, W)`` as stored.

        Raises:
            UserError: the file is truncated, damaged, or goes on behind the voxels.
        """
        try:
            stored = _read(self)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise unreadable(self.path, error) from error
        except MemoryError as error:
            raise UserError(f"{self.path}: does not fit in memory; crop the scan") from error
        array = np.frombuffer(stored, self.dtype).reshape(self.sizes, order="F")
        array = array[None] if self.channel_axis is None else np.moveaxis(array, self.channel_axis, 0)
        return array.astype(self.dtype.newbyteorder("="), copy=False)

    def images(self) -> npt.NDArray[np.float32]:
        """Gray values ``(C, D, H, W)``, scaled as the header says, in float64 first."""
        voxels = self.voxels()
        with np.errstate(over="ignore", invalid="ignore"):  # infinite voxels are refused by CheckScand
            if self.is_scaled:
                voxels = voxels * np.float64(self.slope) + np.float64(self.inter)
            return np.ascontiguousarray(voxels, dtype=np.float32)

    def labels(self) -> npt.NDArray[Any]:
        """Whole numbers ``(C, D, H, W)``, those of integer types as they are stored.

        Raises:
            UserError: a value is NaN, or more than 0.001 from a whole number.
        """
        voxels = self.voxels()
        most = 2.0 ** (np.finfo(voxels.dtype).nmant + 1 if voxels.dtype.kind == "f" else 53)  # beyond, numbers merge
        if self.is_scaled:
            with np.errstate(over="ignore", invalid="ignore"):
                voxels = voxels * np.float64(self.slope) + np.float64(self.inter)
        if voxels.dtype.kind in "iu":
            return np.ascontiguousarray(voxels)
        whole = np.rint(voxels)
        with np.errstate(invalid="ignore"):
            fits = (np.abs(whole) <= most) & (np.abs(voxels - whole) <= WHOLE)  # false for NaN too
            fits &= (whole != 0) | (voxels == 0)  # a scaling by 1e-38 makes all labels nearly 0
        if not fits.all():
            wrong = voxels[~fits]
            if not np.isfinite(wrong).all():
                raise UserError(f"{self.path}: has NaN or infinite values; masks and label maps hold integers")
            if (np.abs(wrong) > most).any():
                raise UserError(
                    f"{self.path}: labels as large as {np.abs(wrong).max():.0f} are not exact as {self.dtype.name}; "
                    "save it with an integer type"
                )
            raise UserError(f"{self.path}: a label map holds integers, but this has the value {wrong[0]:g}")
        return np.ascontiguousarray(whole, dtype=np.int64)

    @property
    def is_scaled(self) -> bool:
        """Whether the values stored are not the ones meant."""
        return (self.slope, self.inter) != (1.0, 0.0)


class _Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most ``size`` of them."""


class _Inflated:
    """A zlib stream (as MetaImage has it), to its checksum."""

    def __init__(self, raw: BinaryIO) -> None:
        self.raw, self.decoder = raw, zlib.decompressobj(zlib.MAX_WBITS | 32)

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        while not self.decoder.eof:
            packed = self.decoder.unconsumed_tail or self.raw.read(_CHUNK)
            plain = self.decoder.decompress(packed, size)
            if plain:
                return plain
            if not packed:
                raise EOFError("truncated: the compressed voxels end too early")
        if self.decoder.unused_data or self.raw.read(1):
            raise ValueError("more bytes than its header says")
        return b""


def _read(layout: Layout) -> bytearray:
    with layout.data_file.open("rb") as raw:
        raw.seek(layout.start)
        streams: dict[str, Any] = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "zlib": _Inflated}
        stream = cast(_Stream, raw if layout.encoding == "raw" else _decoder(streams[layout.encoding], raw))
        _pass_over(stream, layout.skip)
        voxels = _take(stream, layout.bytes_of_voxels)
        if stream.read(1):  # at the end, decoders compare the checksum
            raise ValueError("more bytes than its header says")
    return voxels


def _decoder(kind: Any, raw: BinaryIO) -> Any:
    return kind(fileobj=raw) if kind is gzip.GzipFile else kind(raw)


def _pass_over(stream: _Stream, count: int) -> None:
    """What comes before the voxels, of any size, without keeping it."""
    while count:
        count -= len(_take(stream, min(_CHUNK, count)))


def _take(stream: _Stream, count: int) -> bytearray:
    """Exactly ``count`` bytes."""
    taken = bytearray()
    while len(taken) < count:
        part = stream.read(min(_CHUNK, count - len(taken)))
        if not part:
            raise EOFError(f"truncated: {count - len(taken)} bytes are missing")
        taken += part
    return taken
