"""Masks lie where their scan lies: by nibabel, by ITK and by our own reader, for random places, formats and types."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pytest
from conemos_bundle.inferers import SaveImageRegionsd
from conemos_bundle.transforms import LoadImageScand
from conemos_bundle.volumes import is_sheared, read_geometry, read_volume, save_mask
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from scipy.spatial.transform import Rotation

SHAPE = (4, 3, 5)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
FORMATS = ("nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd")
TYPES = ("u1", "i2", "u2", "f4", "f8")
PLACES = ("straight", "permuted", "mirrored", "oblique", "anisotropic", "sheared", "micrometers", "two forms")
REPEATS = 2


def random_affine(place: str, random: np.random.Generator) -> np.ndarray:
    rotation = np.eye(3)
    if place not in ("straight", "sheared"):
        rotation = Rotation.random(random_state=int(random.integers(2**31))).as_matrix()
    if place in ("permuted", "mirrored"):
        rotation = np.eye(3)[:, random.permutation(3)] * (random.choice([-1, 1], 3) if place == "mirrored" else 1)
    spacing = random.uniform(0.4, 3, 3) * ([1, 1, 8] if place == "anisotropic" else [1, 1, 1])
    shear = np.eye(3)
    if place == "sheared":
        shear[0, 1:] = random.uniform(-0.4, 0.4, 2)
    affine = np.eye(4)
    affine[:3, :3] = rotation @ shear * spacing
    affine[:3, 3] = random.uniform(-200, 200, 3)
    return affine


def write_scan(path: Path, voxels: np.ndarray, affine: np.ndarray, place: str) -> None:
    if ".nii" in path.name:
        image = nibabel.Nifti1Image(voxels, affine)
        image.set_sform(affine, 2)
        image.set_qform(None if is_sheared(affine) else affine, 0 if is_sheared(affine) else 1)
        image.header.set_xyzt_units("micron" if place == "micrometers" else "mm")
        if place == "two forms":
            moved = affine.copy()
            moved[:3, 3] += [12, -7, 5]
            image.set_qform(moved, 1)
        nibabel.save(image, path)
        return
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = itk.image_from_array(np.ascontiguousarray(voxels.T))
    image.SetSpacing(spacing)
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
    image.SetOrigin(lps[:3, 3])
    itk.imwrite(image, str(path))


def itk_affine(path: Path) -> np.ndarray:
    """What ITK says of a file, in RAS; the file's unit."""
    image_io = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
    image_io.SetFileName(str(path))
    image_io.ReadImageInformation()
    affine = np.eye(4)
    for axis in range(3):
        affine[:3, axis] = np.asarray(image_io.GetDirection(axis)) * image_io.GetSpacing(axis)
        affine[axis, 3] = image_io.GetOrigin(axis)
    return LPS @ affine


def far(one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance, in mm, between corners that two affines place."""
    corners = np.array(list(itertools.product(*((0, n - 1) for n in SHAPE), [1])), float)
    return float(np.abs(corners @ (one - other).T).max())


def test_masks_and_scans_are_placed_identically_by_three_readers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(14)
    tried = by_itk = 0
    for place, extension, kind, repeat in itertools.product(PLACES, FORMATS, TYPES, range(REPEATS)):
        is_nifti = extension.startswith("nii")
        if place in ("micrometers", "two forms") and not is_nifti:
            continue
        affine = random_affine(place, random)
        voxels = random.integers(0, 100, SHAPE).astype(kind)
        folder = tmp_path / f"{place}_{extension}_{kind}_{repeat}"
        folder.mkdir()
        scan, mask = folder / f"scan.{extension}", folder / "mask.nii.gz"
        write_scan(scan, voxels, affine, place)
        volume = read_volume(scan)
        np.testing.assert_array_equal(volume.voxels[0], voxels)
        save_mask(mask, (voxels > 50).astype(np.uint8), volume.affine, volume.nifti_header)

        told = (place, extension, kind, affine.tolist())
        unit = 1e-3 if place == "micrometers" else 1.0
        to_mm = np.diag([unit, unit, unit, 1])
        assert far(volume.affine, to_mm @ affine) < 1e-3, told
        assert far(read_geometry(mask).affine, volume.affine) < 1e-3, told
        assert far(to_mm @ nibabel.load(mask).affine if is_nifti else nibabel.load(mask).affine, volume.affine) < 1e-3
        np.testing.assert_array_equal(read_volume(mask, labels=True).voxels[0], voxels > 50)
        if not (place == "sheared" and is_nifti):  # ITK makes the axes of sheared NIfTI files orthogonal, or refuses
            here = itk_affine(scan)
            if place != "sheared":
                assert far(itk_affine(mask), here) < 5e-3, told
                by_itk += 1
            if place not in ("micrometers", "two forms"):
                assert far(here, volume.affine) < 5e-3, told
        if is_nifti:
            assert far(nibabel.load(mask).affine, nibabel.load(scan).affine) < 1e-3, told
        tried += 1
    with capsys.disabled():
        print(f" [{tried} scans placed, {by_itk} masks by ITK too] ", end="")
    assert tried >= 200 and by_itk >= 200


@pytest.mark.parametrize("output_format", ["files", "multichannel", "labelmap"])
def test_results_take_forms_codes_unit_and_intent_of_their_scan(tmp_path: Path, output_format: str) -> None:
    """Through a data loader, as prediction has it."""
    affine = np.diag([2000.0, 1000, 1500, 1])
    moved = affine.copy()
    moved[:3, 3] = [12000, -7000, 5000]
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(SHAPE), affine)
    image.set_sform(affine, 4)
    image.set_qform(moved, 2)
    image.header.set_xyzt_units("micron", "sec")
    image.header.set_intent("label", (), "labels")
    image.header.set_slope_inter(2, 1)
    image.header["cal_max"], image.header["descrip"] = 500, b"a scan"
    nibabel.save(image, tmp_path / "scan.nii.gz")
    loader: Any = DataLoader(Dataset([{"image": str(tmp_path / "scan.nii.gz")}], LoadImageScand()), batch_size=1)
    (item,) = decollate_batch(next(iter(loader)))
    masks = MetaTensor((item["image"] > 60).float().repeat(2, 1, 1, 1), meta=item["image"].meta)
    saver = SaveImageRegionsd(
        region_names=["a", "b"], regions=["a", "b"], output_dir=tmp_path / "out", output_format=output_format
    )
    result = saver({"pred": masks})["result"]
    inside = int(np.count_nonzero(np.arange(60) * 2 + 1 > 60))
    assert result["regions"]["a"] == {"voxels": inside, "volume_ml": pytest.approx(inside * 3e-3)} | (
        {"value": 1} if output_format == "labelmap" else {}
    )
    scan = nibabel.load(tmp_path / "scan.nii.gz").header
    saved = nibabel.load(next(path for path in map(Path, result["outputs"]) if path.name.endswith(".nii.gz")))
    header = saved.header
    for name in ("sform_code", "qform_code", "xyzt_units", "intent_code", "intent_name", "srow_x", "quatern_b"):
        np.testing.assert_array_equal(header[name], scan[name])
    np.testing.assert_allclose(header.get_qform(), scan.get_qform())
    np.testing.assert_allclose(header.get_sform(), scan.get_sform())
    assert header.get_slope_inter() in ((None, None), (1, 0)) and header["cal_max"] == 0 and header["descrip"] == b""
    assert saved.get_data_dtype() == np.uint8 and set(np.unique(saved.dataobj)) <= {0, 1, 2}


def test_a_header_of_another_grid_is_not_used(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.int16), np.eye(4)), tmp_path / "scan.nii")
    header = read_volume(tmp_path / "scan.nii").nifti_header
    for shape, affine in ((SHAPE, np.diag([-1.0, 1, 1, 1])), ((4, 3, 6), np.eye(4))):
        save_mask(tmp_path / "mask.nii", np.ones(shape, np.uint8), affine, header)
        np.testing.assert_allclose(nibabel.load(tmp_path / "mask.nii").affine, affine)
