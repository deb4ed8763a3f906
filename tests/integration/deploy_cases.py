"""Series to try the MONAI Deploy application on, good ones and bad ones; `verify_deploy.py` runs them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from conemos_bundle.hosts.deploy.make_series import write_series
from conemos_bundle.utils.paths import bundle_folder
from pydicom import dcmread


def series_variants(scan: Path, root: Path) -> dict[str, Path]:
    """Good series of one scan: straight, oblique and against the normal, pixels that are not square, missing tags."""
    image = nibabel.load(scan)
    voxels = image.get_fdata(dtype=np.float32)
    affine = np.array(image.affine, float)
    a, b = np.deg2rad([12, -9])
    turn = np.eye(4)
    turn[:3, :3] = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    flipped = affine.copy()
    flipped[:3, 2] *= -1
    flipped[:3, 3] += affine[:3, 2] * (voxels.shape[2] - 1)
    wide = affine @ np.diag([1, 2, 1, 1])  # every second row: 1 mm between columns, 2 mm between rows
    write_series(root / "axial", voxels, affine)
    write_series(root / "oblique", voxels[..., ::-1], turn @ flipped)
    write_series(root / "not_square", voxels[:, ::2], wide)
    sagittal = np.moveaxis(voxels, 0, 2)
    write_series(root / "sagittal", sagittal, affine @ np.eye(4)[:, [1, 2, 0, 3]])
    empty: dict[str, Any] = {"SeriesNumber": None, "AccessionNumber": ""}
    write_series(root / "missing_tags", voxels, affine, **empty)
    absent = ("PatientBirthDate", "PatientSex", "PatientName", "StudyID", "StudyTime", "ReferringPhysicianName")
    for file in (root / "missing_tags").iterdir():
        dataset = dcmread(file)
        for name in absent:
            delattr(dataset, name)
        dataset.save_as(file)
    return {path.name: path for path in sorted(root.iterdir())}


def change(folder: Path, name: str, source: Path, action: Callable[[Path], object]) -> Path:
    """A changed copy of a series."""
    copy = folder / name
    shutil.copytree(source, copy)
    action(copy)
    return copy


def edit(**tags: Any) -> Callable[[Path], object]:
    """An action that sets tags of the tenth image; None takes them out."""

    def apply(folder: Path) -> None:
        dataset = dcmread(folder / "9.dcm")
        for name, value in tags.items():
            dataset.pop(name, None) if value is None else setattr(dataset, name, value)
        dataset.save_as(folder / "9.dcm")

    return apply


def truncate(folder: Path) -> None:
    """Cut a file in its pixels."""
    file = folder / "9.dcm"
    file.write_bytes(file.read_bytes()[:-500])


def constant(folder: Path) -> None:
    """Make every pixel zero."""
    for file in folder.iterdir():
        dataset = dcmread(file)
        dataset.PixelData = bytes(len(dataset.PixelData))
        dataset.save_as(file)


def bad_inputs(root: Path, good: Path, model: Path) -> dict[str, list[str]]:
    """What is wrong, and the options."""
    text = root / "text"
    text.mkdir()
    (text / "notes.txt").write_text("no scan")
    twice = root / "twice"
    shutil.copytree(good, twice / "a")
    second = {file.name: dcmread(file) for file in good.iterdir()}
    (twice / "b").mkdir()
    for name, dataset in second.items():
        dataset.SeriesInstanceUID, dataset.SeriesDescription = "1.2.3.4", "the other one"
        dataset.save_as(twice / "b" / name)
    plain = root / "plain.ts"
    torch.jit.script(torch.nn.Identity()).save(str(plain))
    (root / "weights.ts").write_bytes((bundle_folder() / "models" / "model.pt").read_bytes())
    series = {
        "no DICOM file": text,
        "no such folder": root / "nowhere",
        "two series": twice,
        "a missing slice": change(root, "gap", good, lambda folder: (folder / "9.dcm").unlink()),
        "a slice twice": change(root, "copy", good, lambda folder: shutil.copy(folder / "9.dcm", folder / "x.dcm")),
        "mixed orientations": change(root, "mixed", good, edit(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])),
        "mixed spacing": change(root, "spacing", good, edit(PixelSpacing=[1, 2])),
        "no position": change(root, "position", good, edit(ImagePositionPatient=None)),
        "no frame of reference": change(root, "frame", good, edit(FrameOfReferenceUID=None)),
        "two patients": change(root, "patients", good, edit(PatientID="another")),
        "a truncated file": change(root, "truncated", good, truncate),
        "an image of colors": change(root, "colors", good, edit(PhotometricInterpretation="RGB")),
        "no DICOM in a .dcm": change(root, "text_dcm", good, lambda folder: (folder / "9.dcm").write_text("text")),
        "an empty scan": change(root, "constant", good, constant),
        "a CT": change(root, "ct", good, lambda folder: [_as_ct(file) for file in folder.iterdir()]),
    }
    usual = ["-m", str(model)]
    cases = {name: ["-i", str(folder), *usual] for name, folder in series.items()}
    cases["region unknown"] = ["-i", str(good), *usual, "-r", "femur"]
    cases["region evaluated"] = ["-i", str(good), *usual, "-r", "$__import__('os').system('touch hacked')"]
    cases["a series of no such name"] = ["-i", str(twice), *usual, "-s", "third"]
    cases["no model"] = ["-i", str(good), "-m", str(root / "none.ts")]
    cases["a model without configuration"] = ["-i", str(good), "-m", str(plain)]
    cases["weights as a model"] = ["-i", str(good), "-m", str(root / "weights.ts")]
    cases["a device that is not there"] = ["-i", str(good), *usual, "-d", "cuda:7"]
    cases["no input"] = usual
    cases["an unknown option"] = ["-i", str(good), *usual, "--region", "x", "--nonsense"]
    return cases


def _as_ct(file: Path) -> None:
    dataset = dcmread(file)
    dataset.Modality = "CT"
    dataset.save_as(file)
