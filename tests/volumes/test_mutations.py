"""Damaged files: read as nibabel reads them, or refused in one line; never a traceback."""

from __future__ import annotations

import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.volumes import Volume, read_geometry, read_volume

from tests.volumes.mutations import KINDS, VOXELS, good_scan, mutated

MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}


def read_or_refuse(path: Path) -> Volume | None:
    """None where the file is refused in one line that names it."""
    told = ""
    try:
        read_geometry(path)
        return read_volume(path)
    except UserError as error:
        told = str(error)
    assert told.startswith(str(path)) and "\n" not in told
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_each_ends_as_nibabel_reads_it_or_in_one_line(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"whole.{kind}").write_bytes(good_scan(kind, tmp_path))
    np.testing.assert_array_equal(read_volume(tmp_path / f"whole.{kind}").voxels[0], VOXELS)
    read, refused, start = 0, 0, time.perf_counter()
    for path in mutated(kind, 150, tmp_path):
        volume = read_or_refuse(path)
        if volume is None:
            refused += 1
            continue
        read += 1
        assert np.isfinite(volume.affine).all() and abs(np.linalg.det(volume.affine)) > 0
        if kind.startswith("nii"):
            image = nibabel.load(path)
            affine = image.affine.copy()
            affine[:3] *= MM[int(image.header["xyzt_units"]) & 7]
            np.testing.assert_allclose(volume.affine, affine, rtol=1e-5, atol=1e-5)
            voxels = np.asarray(image.dataobj, np.float32)
            voxels = voxels[None] if voxels.ndim == 3 else np.moveaxis(voxels, -1, 0)
            np.testing.assert_allclose(volume.voxels, voxels, rtol=1e-5)
    seconds = time.perf_counter() - start
    with capsys.disabled():
        print(f" [{kind}: {read} read, {refused} refused, {seconds:.1f} s] ", end="")
    assert read + refused == 150 and refused >= 50
