"""Series as scanners and archives leave them: every entry reads them as pydicom and numpy do by hand."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from conemos_bundle.data.scans import find_scans
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.hosts.deploy.make_series import write_series
from conemos_bundle.transforms import LoadImageScand
from conemos_bundle.volumes.dicom import check_series, read_series, read_slices
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)


def by_hand(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Gray values ``(W, H, D)`` and affine in RAS, by the standard's formula."""
    slices = [dcmread(file, force=True) for file in folder.rglob("*") if file.is_file()]
    slices = [one for one in slices if "PixelData" in one]
    for one in slices:
        one.file_meta.setdefault("TransferSyntaxUID", ImplicitVRLittleEndian)
    across, down = np.reshape(np.array(slices[0].ImageOrientationPatient, float), (2, 3))
    normal = np.cross(across, down)
    slices.sort(key=lambda one: float(normal @ np.array(one.ImagePositionPatient, float)))
    values = [one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in slices]
    first, last = (np.array(slices[index].ImagePositionPatient, float) for index in (0, -1))
    lps = np.eye(4)
    lps[:3, 0] = across * float(slices[0].PixelSpacing[1])
    lps[:3, 1] = down * float(slices[0].PixelSpacing[0])
    lps[:3, 2] = (last - first) / (len(slices) - 1)
    lps[:3, 3] = first
    return np.stack(values, -1).swapaxes(0, 1).astype(np.float32), np.diag([-1.0, -1, 1, 1]) @ lps


def each(change: Callable[[Dataset, int], object]) -> Callable[[Path], None]:
    """``change(dataset, index)`` on every file."""

    def apply(folder: Path) -> None:
        for index, file in enumerate(sorted(folder.iterdir(), key=lambda one: int(one.stem))):
            dataset = dcmread(file)
            change(dataset, index)
            dataset.save_as(file)

    return apply


def tags(**values: Any) -> Callable[[Path], None]:
    """Values that every file gets, or a function of its index; None takes the tag out."""

    def change(dataset: Dataset, index: int) -> None:
        for name, value in values.items():
            dataset.pop(name, None)
            if value is not None:
                setattr(dataset, name, value(index) if callable(value) else value)

    return each(change)


def encoded(syntax: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for file in folder.iterdir():
            dataset = dcmread(file)
            if syntax == ExplicitVRBigEndian:
                dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            if syntax in (RLELossless, JPEGLSLossless):
                dataset.compress(syntax, generate_instance_uid=False)
            dataset.file_meta.TransferSyntaxUID = syntax
            implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
            pydicom.dcmwrite(file, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)

    return change


def renamed(name: Callable[[int], str]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for index in range(8):
            (folder / f"{index}.dcm").rename(folder / name(index))

    return change


def without_preamble(folder: Path) -> None:
    for index, file in enumerate(folder.iterdir()):
        dataset = dcmread(file)
        dataset.preamble = None
        del dataset.file_meta
        pydicom.dcmwrite(folder / f"slice{index}", dataset, implicit_vr=True, little_endian=True)
        file.unlink()
        assert (folder / f"slice{index}").read_bytes()[128:132] != b"DICM"


def rounded(dataset: Dataset, index: int) -> None:
    dataset.ImagePositionPatient = [f"{float(x):.2f}" for x in dataset.ImagePositionPatient]


def pixels(dataset: Dataset, stored: np.ndarray, bits: int = 16, signed: int = 0) -> None:
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = stored.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation, dataset.PixelData = signed, stored.tobytes() + b"\0" * (stored.nbytes % 2)


def signed_with_padding(dataset: Dataset, index: int) -> None:
    stored = (dataset.pixel_array // 2).astype("<i2") - 5000
    stored[:2] = -32768
    pixels(dataset, stored, 16, 1)
    dataset.add_new("PixelPaddingValue", "SS", -32768)


def number_types(dataset: Dataset, index: int) -> None:
    stored = dataset.pixel_array
    if index == 0:
        pixels(dataset, (stored // 256).astype("u1")[:, :], 8)
    elif index % 2:
        pixels(dataset, stored.astype("<i4") - 2**20, 32, 1)
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{0.1 + index}", f"{index}"


def overlay(dataset: Dataset, index: int) -> None:
    pixels(dataset, ((dataset.pixel_array // 16) | 0xA000).astype("<u2"), 12)


def private(dataset: Dataset, index: int) -> None:
    dataset.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", f"{index}")


def with_neighbors(folder: Path) -> None:
    """Files that are no slices, a report of a series of its own, and what scanners keep for themselves."""
    for name in ("README.md", "scan.json", "picture.png", "._0.dcm", "DICOMDIR"):
        (folder / name).write_bytes(b"no slice")
    report = dcmread(folder / "0.dcm")
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(report, tag)
    report.Modality, report.SeriesInstanceUID, report.SOPInstanceUID = "SR", generate_uid(), generate_uid()
    report.save_as(folder / "report.dcm")
    kept = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID")
    for index, kind in enumerate(("1.3.46.670589.11.0.0.12.2", "1.2.840.113619.4.27", "1.2.392.200036.9116.7.8.1.1.1")):
        own = dcmread(folder / "0.dcm", specific_tags=list(kept))
        own.SOPClassUID, own.SOPInstanceUID, own.SeriesInstanceUID = kind, generate_uid(), generate_uid()
        own.Modality = "MR"
        own.save_as(folder / f"own{index}.dcm")


REGULAR: dict[str, Callable[[Path], None]] = {
    "as written": lambda folder: None,
    "files in any order, without extension": renamed(lambda index: f"x{(index * 3) % 8}"),
    "files called by a UID": renamed(lambda index: f"1.2.840.{(index * 5) % 8}"),
    "files of another extension": renamed(lambda index: f"{(index * 5) % 8}.img"),
    "instance numbers against positions": tags(InstanceNumber=lambda index: 8 - index),
    "no instance numbers": tags(InstanceNumber=None),
    "two acquisitions that make one volume": tags(AcquisitionNumber=lambda index: 1 + index % 2),
    "times that differ": tags(AcquisitionTime=lambda index: f"1000{index:02d}", TriggerTime=lambda index: 10.0 * index),
    "slice thickness and spacing between slices that are wrong": tags(
        SliceThickness=lambda index: 1 + index, SpacingBetweenSlices=10
    ),
    "window": tags(WindowCenter=40, WindowWidth=80),
    "no modality": tags(Modality=None),
    "no frame of reference, study and kind of object": tags(
        FrameOfReferenceUID=None, StudyInstanceUID=None, SOPClassUID=None, SOPInstanceUID=None, PatientID=None
    ),
    "private tags": each(private),
    "implicit": encoded(ImplicitVRLittleEndian),
    "big endian": encoded(ExplicitVRBigEndian),
    "deflated": encoded(DeflatedExplicitVRLittleEndian),
    "run lengths": encoded(RLELossless),
    "JPEG-LS": encoded(JPEGLSLossless),
    "no preamble": without_preamble,
    "positions with two digits": each(rounded),
    "signed, with padding values": each(signed_with_padding),
    "number types and slopes per slice": each(number_types),
    "an overlay in the upper bits": each(overlay),
    "neighbors": with_neighbors,
}


def in_folders(folder: Path) -> None:
    for index in range(8):
        (folder / f"part{index % 3}").mkdir(exist_ok=True)
        if index:  # one stays
            (folder / f"{index}.dcm").rename(folder / f"part{index % 3}" / f"{index}.dcm")


REGULAR["some slices in folders of their own"] = in_folders
ONLY_PREDICT = {"no modality", "no frame of reference, study and kind of object"}  # a segmentation needs them


DECODED = {"run lengths", "JPEG-LS"}  # by a process of its own, which takes ITK two seconds to start each time


@pytest.mark.parametrize(
    ("situation", "direction"), [(name, one) for name in REGULAR for one in (1, -1) if one == 1 or name not in DECODED]
)
def test_a_regular_series_is_read_as_by_hand(
    situation: str, direction: int, tmp_path: Path, voxels: np.ndarray, oblique: np.ndarray
) -> None:
    folder = tmp_path / "series"
    write_series(folder, voxels, oblique @ np.diag([1, 1, direction, 1]))
    REGULAR[situation](folder)
    expected, affine = by_hand(folder)
    (item,) = find_scans(folder)
    image = LoadImageScand()(item)["image"]
    np.testing.assert_array_equal(image.numpy(), expected[None])
    assert image.dtype == image.new_tensor(0.0).dtype
    np.testing.assert_allclose(image.affine.numpy(), affine, atol=0.011 if "digits" in situation else 1e-9)
    if situation not in ONLY_PREDICT:
        for modality in ("MR", None)[: 1 if situation in DECODED else 2]:
            values, of_deploy = read_slices(find_series(folder, modality))
            np.testing.assert_array_equal(values[None], image.numpy())
            np.testing.assert_array_equal(of_deploy, image.affine.numpy())


def test_headers_of_many_slices_take_seconds(tmp_path: Path, oblique: np.ndarray) -> None:
    write_series(tmp_path / "one", np.zeros((8, 8, 2), np.float32), oblique)
    dataset = dcmread(tmp_path / "one" / "0.dcm")
    first, apart = np.array(dataset.ImagePositionPatient, float), [0.5, 0, 0.1]
    dataset.ImageOrientationPatient = [
        "0",
        "1",
        "0",
        *(f"{x:.9f}" for x in np.array([-0.1, 0, 0.5]) / np.hypot(0.5, 0.1)),
    ]
    (tmp_path / "many").mkdir()
    for index in range(400):
        dataset.SOPInstanceUID = generate_uid()
        dataset.ImagePositionPatient = [f"{x:.6f}" for x in first + index * np.array(apart)]
        dataset.save_as(tmp_path / "many" / f"{index}.dcm")
    begun = time.process_time()
    headers = check_series(tmp_path / "many")
    assert len(headers) == 400
    assert time.process_time() - begun < 5


def test_the_order_of_files_and_a_copy_of_the_folder_change_nothing(series: Path, tmp_path: Path) -> None:
    values, affine = read_series(series)
    shutil.copytree(series, tmp_path / "copy")
    renamed(lambda index: f"{7 - index}.ima")(tmp_path / "copy")
    again, same = read_series(tmp_path / "copy")
    np.testing.assert_array_equal(again, values)
    np.testing.assert_array_equal(same, affine)


def test_parts_of_a_series_in_two_folders_are_no_two_scans(series: Path, tmp_path: Path) -> None:
    for index in range(8):
        part = tmp_path / "scans" / ("a" if index < 4 else "b")
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(series / f"{index}.dcm", part)
    problems = {item["problem"] for item in find_scans(tmp_path / "scans")}
    assert len(problems) == 1
    assert re.search(r"^\S+scans/a and \S+scans/b hold parts of one series; put all its files", problems.pop())
    assert len(check_series(tmp_path / "scans")) == 8
    shutil.rmtree(tmp_path / "scans" / "b")
    shutil.copytree(tmp_path / "scans" / "a", tmp_path / "scans" / "copy")
    assert [item.get("problem") for item in find_scans(tmp_path / "scans")] == [None, None]
