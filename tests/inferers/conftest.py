"""Three scans to segment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def scans(tiny_dataset: Path, tmp_path: Path) -> Path:
    """Three scans, no two alike."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, source in (("a", "test_0"), ("b", "training_1"), ("c", "training_2")):
        shutil.copy(tiny_dataset / "images" / f"{source}.nii.gz", folder / f"{name}.nii.gz")
    return folder
