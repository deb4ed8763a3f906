"""A process of its own that takes each mutated file through every entry and prints, a line each, how it ended.

    python mutated_entries.py FOLDER KIND FROM       # KIND: nifti, itk or dicom; FROM: index of the first file

A line holds the index, before the file is touched, and then the endings as JSON: whoever reads it knows which file a
signal ended the process at.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import torch
from conemos_bundle.data.check import problems_and_relations
from conemos_bundle.data.datalist import Datalist, scan_items
from conemos_bundle.data.plan import plan_input
from conemos_bundle.data.scans import find_scans
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.hosts.label.annotations import read_saved
from conemos_bundle.inferers import SaveImageRegionsd
from conemos_bundle.transforms import CheckScand, LoadImageScand, LoadRegionMasksd
from conemos_bundle.transforms.resample import OrientToRASd, ResampleToSpacingd
from header_mutations import VOXELS, dicom_folders, itk_files, nifti_files
from monai.data import MetaTensor
from monai.data.utils import orientation_ras_lps
from monai.transforms import Compose, Invertd
from pydicom import Dataset, dcmread

MOST_MEMORY = 8 * 2**30
KINDS = {"nifti": nifti_files, "itk": itk_files, "dicom": dicom_folders}


def by_another_reader(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine (RAS) as nibabel, ITK or pydicom with numpy read them; they raise what they like."""
    if path.is_dir():
        images = sorted((dcmread(file) for file in path.iterdir()), key=lambda d: float(d.ImagePositionPatient[2]))
        voxels = np.stack([_slice(image) for image in images], 2)
        first, last = (np.asarray(d.ImagePositionPatient, float) for d in (images[0], images[-1]))
        lps = np.eye(4)
        across, down = np.reshape(np.asarray(images[0].ImageOrientationPatient, float), (2, 3))
        rows, columns = np.asarray(images[0].PixelSpacing, float)
        lps[:3] = np.stack([across * columns, down * rows, (last - first) / (len(images) - 1), first], 1)
        return voxels, np.asarray(orientation_ras_lps(lps))
    if ".nii" in path.name:
        image: Any = nibabel.load(path)
        unit = {1: 1000.0, 3: 0.001}.get(int(image.header["xyzt_units"]) & 7, 1.0)
        return np.asanyarray(image.dataobj), np.diag([unit, unit, unit, 1]) @ image.affine
    image = itk.imread(str(path))
    lps = np.eye(4)
    lps[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return itk.array_from_image(image).T, np.asarray(orientation_ras_lps(lps))


def _slice(image: Dataset) -> np.ndarray:
    stored = image.pixel_array.T.astype(float)
    if image.PhotometricInterpretation == "MONOCHROME1":  # lowest is white
        stored = (-1 if image.PixelRepresentation else 2**image.BitsStored - 1) - stored
    return stored * float(image.get("RescaleSlope", 1)) + float(image.get("RescaleIntercept", 0))


def wrongly_placed(found: np.ndarray, affine: np.ndarray, path: Path) -> str:
    """What differs from the other reader; empty: nothing."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            voxels, expected = by_another_reader(path)
    except Exception as error:
        return f"accepted, though another reader refuses: {type(error).__name__} {str(error)[:80]}"
    voxels = np.reshape(voxels, voxels.shape[:3]) if voxels.size == np.prod(voxels.shape[:3]) else voxels
    if found.shape[-3:] != voxels.shape[:3]:
        return f"accepted with shape {found.shape}, another reader: {voxels.shape}"
    if not np.allclose(affine, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected[:3, :3]).max())):
        return f"placed at {affine[:3].round(3).tolist()}, another reader: {expected[:3].round(3).tolist()}"
    if found.shape == voxels.shape and not np.allclose(found, voxels.astype(np.float32), rtol=1e-5, equal_nan=True):
        return "other voxels than another reader's"
    return ""


def predict(path: Path, folder: Path) -> str:
    """`conemos predict`, `monai.bundle run`, MONAI Label's inference: all of the scan as its prediction."""
    items = find_scans(path)
    grid = Compose([OrientToRASd("image"), ResampleToSpacingd("image", pixdim=[4.0, 4.0, 5.0], mode="bilinear")])
    loaded = CheckScand("image")(LoadImageScand("image")(items[0]))
    prepared = grid(loaded)
    prepared["pred"] = MetaTensor(torch.ones_like(prepared["image"]), meta=prepared["image"].meta)
    back = Invertd("pred", transform=grid, orig_keys="image", nearest_interp=False)(prepared)
    back["pred"] = (back["pred"] > 0.5).float()
    save = SaveImageRegionsd(region_names=["a"], regions=["a"], output_dir=folder)
    result = save({"pred": back["pred"], "name": "s"})["result"]
    image: Any = nibabel.load(result["outputs"][0])
    unit = {1: 1000.0, 3: 0.001}.get(int(image.header["xyzt_units"]) & 7, 1.0)
    if not np.isfinite(result["regions"]["a"]["volume_ml"]) or result["regions"]["a"]["volume_ml"] <= 0:
        return f"volume {result['regions']['a']}"
    if path.name.endswith(".gz") and not np.array_equal(loaded["image"][0].numpy(), VOXELS):
        return "damaged voxels"  # the other reader does not look at the checksum
    problem = wrongly_placed(loaded["image"][0].numpy(), loaded["image"].affine.numpy(), path)
    return problem or wrongly_placed(np.zeros((1, *image.shape)), np.diag([unit, unit, unit, 1]) @ image.affine, path)


def _datalist(path: Path, folder: Path) -> Datalist:
    """The scan with a mask on the grid that the other reader tells, or on any where that is none."""
    shape, affine = (4, 4, 4), np.eye(4)
    try:
        voxels, told = by_another_reader(path)
        if np.isfinite(told).all() and abs(np.linalg.det(told[:3, :3])) > 1e-12 and min(voxels.shape[:3]) > 0:
            shape, affine = voxels.shape[:3], told
    except Exception:
        pass
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(0, max(1, length // 2)) for length in shape)] = 1
    nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "mask.nii.gz")
    scan = {"image": str(path), "subject": "s", "masks": {"a": str(folder / "mask.nii.gz")}}
    return Datalist.model_validate({"regions": ["a"], "training": [scan]})


def check(path: Path, folder: Path) -> str:
    """`conemos check`; a scan that it finds nothing wrong with is one that training takes."""
    datalist = _datalist(path, folder)
    lines, _ = problems_and_relations(datalist, folder)
    if any(line.startswith("error: ") for line in lines):
        raise UserError(lines[0])
    try:
        train(path, folder)
    except UserError as error:
        return f"check finds no error, training refuses: {error}"
    return ""


def train(path: Path, folder: Path) -> str:
    """What training loads: the plan, the scan and its mask on the network's grid."""
    item = scan_items(_datalist(path, folder), "training", folder)[0]
    plan = plan_input([item])
    loaded = CheckScand("image", plan["in_channels"])(LoadImageScand("image")(item))
    loaded = LoadRegionMasksd(regions=["a"])(loaded)
    if int(loaded["label"].sum()) == 0:
        return "an empty mask"
    return wrongly_placed(loaded["image"][0].numpy(), loaded["image"].affine.numpy(), path)


def label_server(path: Path, folder: Path) -> str:
    """The file as a label that an annotator submitted, on the grid that the other reader tells."""
    voxels, affine = by_another_reader(path)
    if (
        voxels.ndim != 3
        or not voxels.size
        or not np.isfinite(affine).all()
        or abs(np.linalg.det(affine[:3, :3])) < 1e-12
    ):
        raise UserError("no grid to compare with")
    value = int(np.clip(np.rint(np.nan_to_num(voxels.flat[0])), -1e9, 1e9))
    info = {"label_info": [{"name": "a", "idx": value}]}
    masks = read_saved(str(path), info, ["a"], {}, voxels.shape, affine)
    expected = np.rint(voxels) == value
    if "a" in masks and not np.array_equal(masks["a"] == 1, expected):
        return "other voxels than another reader's"
    return ""


def deploy(path: Path, folder: Path) -> str:
    """The Deploy application's way in."""
    from conemos_bundle.volumes.dicom import read_slices

    voxels, affine = read_slices(find_series(path))
    return wrongly_placed(voxels, affine, path)


ENTRIES: dict[str, list[Callable[[Path, Path], str]]] = {
    "nifti": [predict, check, train, label_server],
    "itk": [predict, check, train, label_server],
    "dicom": [predict, deploy],  # a datalist's images are files
}


def ending(entry: Callable[[Path, Path], str], path: Path, folder: Path) -> str:
    """``right``, ``refused``, or what is wrong."""
    folder.mkdir(parents=True)
    try:
        return entry(path, folder) or "right"
    except UserError as error:
        return "refused" if "\n" not in str(error) else f"several lines: {error}"
    except Exception as error:
        if entry is label_server and _refused_by_the_other(path):
            return "refused"  # the other reader gives no grid to compare with
        return f"{type(error).__name__}: {str(error)[:150]}"


def _refused_by_the_other(path: Path) -> bool:
    try:
        by_another_reader(path)
    except Exception:
        return True
    return False


def main(root: str, kind: str, first: str) -> None:
    """Print the endings of the files from ``first`` on."""
    logging.disable(logging.CRITICAL)
    # the other readers believe every header: they shall run out of this much, not out of the machine's memory
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    files = Path(root, f"{kind}_{first}")
    files.mkdir()
    for index, (label, path) in enumerate(KINDS[kind](files)):
        if index < int(first):
            continue
        print(json.dumps([index, label]), flush=True)
        for entry in ENTRIES[kind]:
            found = ending(entry, path, files / "out" / f"{index}_{entry.__name__}")
            print(json.dumps([index, label, entry.__name__, found]), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
