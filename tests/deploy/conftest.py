"""A small DICOM series, oblique and with pixels that are not square, and a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conemos_bundle.paths import bundle_folder
from make_series import write_series
from monai.bundle import ckpt_export
from pydicom import Dataset, dcmread

SHAPE = (12, 10, 8)


@pytest.fixture
def oblique() -> np.ndarray:
    """An affine in RAS+: columns 1.5 mm apart, rows 2.5 mm, slices 3 mm; turned about two axes."""
    a, b = np.deg2rad([20, -10])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [1.5, 2.5, 3.0]
    affine[:3, 3] = [-11, 7, 30]
    return affine


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 30, SHAPE).astype(np.float32)


@pytest.fixture
def series(tmp_path: Path, voxels: np.ndarray, oblique: np.ndarray) -> Path:
    """A folder of 8 images ``0.dcm`` to ``7.dcm``."""
    write_series(tmp_path / "series", voxels, oblique)
    return tmp_path / "series"


@pytest.fixture
def change() -> Callable[..., None]:
    """``change(folder, images, Tag=value)``: set tags of some images; None takes them out."""

    def apply(folder: Path, images: range | list[int], **tags: Any) -> None:
        for index in images:
            dataset: Dataset = dcmread(folder / f"{index}.dcm")
            for name, value in tags.items():
                if value is None:
                    dataset.pop(name, None)
                else:
                    setattr(dataset, name, value)
            dataset.save_as(folder / f"{index}.dcm")

    return apply


@pytest.fixture(scope="session")
def torchscript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's model as ``model.ts``, as `docs/deploy.md` says to make it."""
    folder, file = bundle_folder(), tmp_path_factory.mktemp("exported") / "model.ts"
    ckpt_export(
        "network_def",
        str(file),
        str(folder / "models" / "model.pt"),
        str(folder / "configs" / "metadata.json"),
        str(folder / "configs" / "inference.json"),
    )
    return file
