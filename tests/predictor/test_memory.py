"""What a prediction takes at most, measured by the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

SIZE = 112
# Arrays go back to the system when they are freed: left to itself, glibc keeps some, more or less of them in each run.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
CODE = """
import resource, sys
from conemos_bundle.predictor import Predictor, segment_scans
predictor = Predictor.load(device="cpu")
for regions in (["hippocampus"], None):
    segment_scans(predictor, sys.argv[1], sys.argv[2], regions, sys.argv[3], resume=False)
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kB on Linux alone")
@pytest.mark.parametrize("output_format", ["files", "labelmap"])
def test_three_regions_take_the_memory_of_one(output_format: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 1000, (SIZE,) * 3, dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([0.35, 0.35, 0.35, 1])), tmp_path / "scan.nii.gz")
    command = [sys.executable, "-c", CODE, str(tmp_path / "scan.nii.gz"), str(tmp_path / "out"), output_format]
    environment = {**os.environ, **MALLOC}
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    one, three = (int(line.split()[1]) * 1024 for line in printed.splitlines() if line.startswith("peak"))
    assert three - one < 8 * SIZE**3  # all regions at once took 16 bytes per voxel and region, so 32 more
