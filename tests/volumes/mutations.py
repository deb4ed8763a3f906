"""Scans with damaged headers and streams, the same ones for a seed."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import itk
import nibabel
import numpy as np

KINDS = ("nii", "nii.gz", "nrrd", "mha")
VOXELS = (np.arange(20 * 18 * 16).reshape(20, 18, 16) % 331).astype(np.int16)
AFFINE = np.array([[2, 0.1, 0, -20], [-0.1, 2, 0, -18], [0, 0, 2.5, -16], [0, 0, 0, 1]])


def good_scan(kind: str, folder: Path) -> bytes:
    """The bytes of an undamaged scan of 20 x 18 x 16 voxels."""
    path = folder / f"good.{kind}"
    if kind.startswith("nii"):
        image = nibabel.Nifti1Image(VOXELS, AFFINE)
        image.set_qform(AFFINE, 1)
        image.set_sform(AFFINE, 1)
        return gzip.compress(image.to_bytes(), 6, mtime=0) if kind == "nii.gz" else bytes(image.to_bytes())
    image = itk.image_from_array(np.ascontiguousarray(VOXELS.T))
    image.SetSpacing([2, 2, 2.5])
    image.SetOrigin([1, 2, 3])
    itk.imwrite(image, str(path))
    content = path.read_bytes()
    path.unlink()
    return content


def _end_of_header(kind: str, content: bytes) -> int:
    if kind == "nii":
        return 348
    if kind == "nii.gz":
        return len(content)
    return content.index(b"\n\n") + 2 if kind == "nrrd" else content.index(b"LOCAL\n") + 6


def mutated(kind: str, count: int, folder: Path, seed: int = 0) -> Iterator[Path]:
    """Write ``count`` damaged files of ``kind``, one by one: bytes of the header, numbers in it, or its end changed."""
    random = np.random.default_rng([seed, KINDS.index(kind)])
    content = good_scan(kind, folder)
    end = _end_of_header(kind, content)
    for number in range(count):
        damaged = bytearray(content)
        what = random.choice(["bytes", "bits", "number", "end"], p=[0.4, 0.2, 0.3, 0.1])
        if what == "end":
            damaged = damaged[: random.integers(1, len(damaged))]
        elif what == "number" and kind in ("nrrd", "mha"):
            told = list(re.finditer(rb"(?<=[ (,])-?\d[\d.]*", bytes(damaged[:end])))
            place = told[random.integers(len(told))]
            wrong = [b"0", b"-1", b"nan", b"1e30", b"1e-30", b"99999999999", b"3", b""][random.integers(8)]
            damaged[place.start() : place.end()] = wrong
        elif what == "number" and kind == "nii":
            offset = int(random.choice([*range(40, 56, 2), *range(76, 92, 4), 108, 112, 116, *range(252, 328, 4)]))
            wrong = [0, -1, np.nan, np.inf, 1e30, 1e-30, 3e4][random.integers(7)]
            if offset < 76:
                damaged[offset : offset + 2] = np.array(random.integers(-5, 400), "<i2").tobytes()
            else:
                damaged[offset : offset + 4] = np.array(wrong, "<f4").tobytes()
        else:
            for _ in range(random.choice([1, 2, 4])):
                at = int(random.integers(end))
                damaged[at] = damaged[at] ^ (1 << random.integers(8)) if what == "bits" else random.integers(256)
        path = folder / f"{number:03d}_{what}.{kind}"
        path.write_bytes(bytes(damaged))
        yield path
