"""One scan moved, turned, mirrored, permuted and in each format: one mask, voxel by voxel."""

from __future__ import annotations

import itertools
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
from conemos_bundle.cli import predict
from scipy.spatial.transform import Rotation

SPACING = (1.6, 1.6, 2.4)  # the network's: 2 mm; MONAI's Spacing chose between corners here


@pytest.fixture(scope="module")
def voxels() -> np.ndarray:
    """A bright ball in noise, of an odd shape."""
    random = np.random.default_rng(5)
    distance = np.linalg.norm((np.moveaxis(np.indices((17, 14, 10)), 0, -1) - [8, 6, 5]) * SPACING, axis=-1)
    return ((distance < 9) + random.normal(0, 0.2, distance.shape)).astype(np.float32)


FORMATS = ["nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd"]


def masks(model: Path, output: Path, *scans: Path) -> dict[str, np.ndarray]:
    """The masks of ``outer`` by the scans' names."""
    predict(*map(str, scans), regions="outer", model=str(model), output=str(output))
    return {
        folder.name: np.asarray(nibabel.load(folder / "outer.nii.gz").dataobj)
        for folder in output.iterdir()
        if folder.is_dir()
    }


def save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


@pytest.fixture(scope="module")
def expected(voxels: np.ndarray, run: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The mask of the scan that lies straight, at the origin."""
    folder = tmp_path_factory.mktemp("straight")
    (mask,) = masks(run, folder / "out", save(folder / "scan.nii", voxels, np.diag([*SPACING, 1.0]))).values()
    assert 0.05 < mask.mean() < 0.95
    return mask


def test_rigid_moves(voxels: np.ndarray, expected: np.ndarray, run: Path, tmp_path: Path) -> None:
    """48 translations, from a micrometer to a meter, half of them with a turn of up to 40 degrees."""
    random = np.random.default_rng(0)
    scans = []
    for k in range(48):
        move = np.eye(4)
        move[:3, 3] = random.normal(size=3) * 10 ** random.uniform(-3, 3)
        if k % 2:
            axis = random.normal(size=3)
            angle = random.uniform(0, 40)
            move[:3, :3] = Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle, degrees=True).as_matrix()
        scans.append(save(tmp_path / f"moved_{k}.nii", voxels, move @ np.diag([*SPACING, 1.0])))
    found = masks(run, tmp_path / "out", *scans)
    assert len(found) == 48
    assert {name: int((mask != expected).sum()) for name, mask in found.items()} == dict.fromkeys(found, 0)


def test_axes_in_any_order_and_direction(voxels: np.ndarray, expected: np.ndarray, run: Path, tmp_path: Path) -> None:
    """All 48, of an oblique scan."""
    oblique = np.eye(4)
    oblique[:3, :3] = Rotation.from_euler("xyz", [12, -9, 17], degrees=True).as_matrix() * SPACING
    image, mask = nibabel.Nifti1Image(voxels, oblique), nibabel.Nifti1Image(expected, oblique)
    turns = {
        "".join(map(str, axes)) + "".join("pm"[s < 0] for s in signs): np.array(list(zip(axes, signs, strict=True)))
        for axes in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    }
    scans = []
    for name, turn in turns.items():
        turned = image.as_reoriented(turn)
        scans.append(save(tmp_path / f"{name}.nii", np.asarray(turned.dataobj), turned.affine))
    found = masks(run, tmp_path / "out", *scans)
    assert len(found) == 48
    for name, turn in turns.items():
        np.testing.assert_array_equal(found[name], np.asarray(mask.as_reoriented(turn).dataobj), err_msg=name)


def test_formats(voxels: np.ndarray, expected: np.ndarray, run: Path, tmp_path: Path) -> None:
    """ITK writes the affine as text, NIfTI as 32-bit floats."""
    direction = Rotation.from_euler("xyz", [8, -5, 14], degrees=True).as_matrix()
    image = itk.image_from_array(np.ascontiguousarray(voxels.T))
    image.SetSpacing(SPACING)
    image.SetOrigin([-20.512345, 10.254321, 33.1])
    image.SetDirection(np.ascontiguousarray(np.diag([-1, -1, 1]) @ direction))
    scans = [tmp_path / f"x_{ending.replace('.', '_')}.{ending}" for ending in FORMATS]
    for scan in scans:
        itk.imwrite(image, str(scan))
    found = masks(run, tmp_path / "out", *scans)
    assert len(found) == 6
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, expected, err_msg=name)
