"""Headers that contradict themselves or each other; every entry refuses them in the same words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from conemos_bundle.data.scans import find_scans
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.hosts.deploy.make_series import write_series
from conemos_bundle.transforms import LoadImageScand
from conemos_bundle.volumes import geometry
from pydicom import dcmread
from pydicom.uid import EnhancedMRImageStorage, SecondaryCaptureImageStorage, SegmentationStorage, generate_uid


@pytest.fixture(autouse=True)
def _values_that_pydicom_warns_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)


def refusal(folder: Path) -> str:
    """The line, which is that of every entry; what only the loading can know is told by the loading."""
    lines = []
    for entry in (find_scans, find_series, lambda path: LoadImageScand()({"image": str(path)})):
        with pytest.raises(UserError) as error:
            entry(folder)
        lines.append(str(error.value))
    assert len(set(lines)) == 1 and "\n" not in lines[0]
    return lines[0]


SOME_OR_ALL: list[tuple[dict[str, Any], str, str]] = [
    # tags, words where all have them, words where one has them
    ({"PixelSpacing": [0, 2]}, "its PixelSpacing is ", ""),
    ({"PixelSpacing": [-2, 2]}, "its PixelSpacing is ", ""),
    ({"PixelSpacing": ["1e9", 2]}, "its PixelSpacing is", ""),
    ({"PixelSpacing": ["1e-9", 2]}, "its PixelSpacing is", ""),
    ({"PixelSpacing": ["nan", 2]}, "its PixelSpacing is", ""),
    ({"PixelSpacing": [2, 2, 2]}, "its PixelSpacing is ", ""),
    ({"PixelSpacing": [2]}, "its PixelSpacing is ", ""),
    ({"PixelSpacing": None, "ImagerPixelSpacing": [2, 2]}, "PixelSpacing (ImagerPixelSpacing is no measure in the", ""),
    ({"ImageOrientationPatient": [0] * 6}, "no right-angled directions of length 1", ""),
    ({"ImageOrientationPatient": [2, 0, 0, 0, 2, 0]}, "no right-angled directions of length 1", ""),
    ({"ImageOrientationPatient": [1.01, 0, 0, 0, 1, 0]}, "no right-angled directions of length 1", ""),
    ({"ImageOrientationPatient": [1, 0, 0, 0, 1.01, 0]}, "no right-angled directions of length 1", ""),
    ({"ImageOrientationPatient": [1, 0, 0, 0.5, 0.9, 0]}, "no right-angled directions of length 1", ""),
    ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no right-angled directions of length 1", ""),
    ({"ImageOrientationPatient": ["nan", 0, 0, 0, 1, 0]}, "no right-angled directions of length 1", ""),
    ({"ImageOrientationPatient": [1, 0, 0]}, "no right-angled directions of length 1", ""),
    ({"ImagePositionPatient": [0, 0, 0]}, "lie in one place", "differ|apart|sideways|one place"),
    ({"ImagePositionPatient": [0, 0, "nan"]}, "its ImagePositionPatient is", ""),
    ({"ImagePositionPatient": [0, 0, "1e30"]}, "its ImagePositionPatient is", ""),
    ({"ImagePositionPatient": [0, 0]}, "its ImagePositionPatient is", ""),
    ({"Rows": 0}, "its Rows are 0", ""),
    ({"Rows": 9}, "has 240 bytes of pixels where 9 x 12 of 16 bits are 216", "differ in Rows"),
    ({"Columns": 13}, "missing or truncated", "differ in Columns"),
    ({"BitsAllocated": 12}, "BitsAllocated 12", ""),
    ({"BitsAllocated": 64}, "BitsAllocated 64", ""),
    ({"BitsAllocated": 0}, "BitsAllocated 0", ""),
    ({"BitsAllocated": 8}, "BitsAllocated 8, BitsStored 16", ""),
    ({"BitsAllocated": 32}, "missing or truncated", ""),
    ({"BitsStored": 0}, "BitsStored 0", ""),
    ({"BitsStored": 17}, "BitsStored 17", ""),
    ({"HighBit": 11}, "HighBit 11", ""),
    ({"PixelRepresentation": 2}, "PixelRepresentation 2", ""),
    ({"PixelRepresentation": None}, "PixelRepresentation None", ""),
    ({"SamplesPerPixel": 3}, "SamplesPerPixel 3", ""),
    ({"SamplesPerPixel": 0}, "SamplesPerPixel 0", ""),
    ({"PhotometricInterpretation": "RGB"}, "a color image (RGB)", ""),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "a color image (PALETTE COLOR)", ""),
    ({"PhotometricInterpretation": None}, "a color image (no PhotometricInterpretation)", ""),
    ({"NumberOfFrames": 0}, "has 0 frames", ""),
    ({"NumberOfFrames": -1}, "has -1 frames", ""),
    ({"NumberOfFrames": 100000}, "several frames", ""),
    ({"SOPClassUID": EnhancedMRImageStorage}, "several frames (Enhanced MR Image Storage)", ""),
    ({"SOPClassUID": SegmentationStorage}, "several frames (Segmentation Storage)", ""),
    ({"RescaleSlope": 0}, "its RescaleSlope is 0", ""),
    ({"RescaleSlope": "1e300"}, "its RescaleSlope is 1e300", ""),
    ({"RescaleSlope": "nan"}, "its RescaleSlope is nan", ""),
    ({"RescaleSlope": ""}, "its RescaleSlope is None", ""),
    ({"RescaleSlope": [1, 2]}, "its RescaleSlope is [", ""),
    ({"RescaleIntercept": "inf"}, "its RescaleIntercept is", ""),
]
ONE: list[tuple[dict[str, Any], str]] = [
    ({"PhotometricInterpretation": "MONOCHROME1"}, "differ in PhotometricInterpretation"),
    ({"RescaleSlope": None}, "differ in whether they have a RescaleSlope"),
    ({"RescaleIntercept": None}, "differ in whether they have a RescaleIntercept"),
    ({"RescaleType": "HU"}, "differ in RescaleType (HU and US)"),
    ({"Units": "BQML"}, "differ in Units (BQML and None)"),
    ({"Modality": "CT"}, "differ in Modality"),
    ({"SOPClassUID": SecondaryCaptureImageStorage}, "differ in SOPClassUID"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "differ in ImageType (LOCALIZER and None)"),
    ({"EchoTime": 30}, "differ in EchoTime (30.0 and None)"),
    ({"EchoNumbers": 2}, "differ in EchoNumbers"),
    ({"TemporalPositionIdentifier": 2}, "differ in TemporalPositionIdentifier"),
    ({"DiffusionBValue": 1000.0}, "differ in DiffusionBValue"),
    ({"PatientName": "Roe^Jane"}, "differ in PatientName;"),
    ({"Modality": "SEG"}, "no image of a scan, in one series with"),
]


@pytest.mark.parametrize(("changed", "words", "_"), SOME_OR_ALL)
def test_all_slices_alike(changed: dict, words: str, _: str, series: Path, change) -> None:
    change(series, range(8), **changed)
    assert words in refusal(series)


@pytest.mark.parametrize(("changed", "words_of_all", "words"), SOME_OR_ALL)
def test_one_slice(changed: dict, words_of_all: str, words: str, series: Path, change) -> None:
    change(series, [3], **changed)
    line = refusal(series)
    assert any(word in line for word in (words or words_of_all).split("|"))


@pytest.mark.parametrize(("changed", "words"), ONE)
def test_one_slice_of_another_kind(changed: dict, words: str, series: Path, change) -> None:
    change(series, [3], **changed)
    assert words in refusal(series)


def test_one_image_twice_in_two_places(series: Path, change) -> None:
    change(series, [3], SOPInstanceUID=dcmread(series / "4.dcm").SOPInstanceUID)
    assert "have one SOPInstanceUID" in refusal(series)


def test_two_phases_a_little_apart(series: Path, change) -> None:
    for index in range(8):
        shutil.copy(series / f"{index}.dcm", series / f"{index + 8}.dcm")
        place = np.array(dcmread(series / f"{index}.dcm").ImagePositionPatient, float) + 0.004
        change(series, [index + 8], SOPInstanceUID=generate_uid(), ImagePositionPatient=[f"{x:.4f}" for x in place])
    assert "lie in one place: copies, or several echoes, phases" in refusal(series)


def test_a_small_tilt_adds_up(tmp_path: Path, change) -> None:
    """0.3 degrees shift the last of 41 slices by half a millimeter."""
    folder = tmp_path / "tilted"
    write_series(folder, np.random.default_rng(0).random((6, 5, 41)), np.diag([1.0, 1, 2.5, 1]))
    first = np.array(dcmread(folder / "0.dcm").ImagePositionPatient, float)
    for index in range(41):
        change(folder, [index], ImagePositionPatient=[f"{x:.4f}" for x in first + index * np.array([0, 0.013, 2.5])])
    assert "a tilted gantry" in refusal(folder)


def test_more_voxels_than_memory_holds(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 12 * 10 * 8 * (4 + 4)
    monkeypatch.setattr(geometry, "memory_of_machine", lambda: needed)
    assert len(find_series(series)) == 8
    monkeypatch.setattr(geometry, "memory_of_machine", lambda: needed - 1)
    assert refusal(series) == f"{series}: 12 x 10 x 8 voxels do not fit in this machine's memory; crop the scan"


def cut(folder: Path) -> None:
    file = folder / "7.dcm"
    file.write_bytes(file.read_bytes()[:600])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "8.dcm").write_bytes(b""), "8.dcm: is empty"),
        (lambda folder: (folder / "slice8").write_bytes(b""), "slice8: is empty"),
        (lambda folder: (folder / "8.dcm").write_bytes(bytes(50)), "8.dcm: no DICOM file in spite of its name"),
        (lambda folder: (folder / "8.dcm.part").write_bytes(bytes(50)), "8.dcm.part: no DICOM file in spite of its"),
        (lambda folder: (folder / "8.dcm").write_bytes(bytes(128) + b"DICM"), "8.dcm: this DICOM file cannot be read"),
        (cut, "7.dcm: "),
        (lambda folder: (folder / "8.dcm").symlink_to(folder / "nowhere"), "8.dcm: cannot be read (No such file"),
    ],
)
def test_files_that_were_dropped_without_a_word(damage: Callable[[Path], object], words: str, series: Path) -> None:
    damage(series)
    assert words in refusal(series)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"Columns": None}, "8.dcm: truncated, or no image of a scan, in one series with 0.dcm"),
        ({"SeriesInstanceUID": "1.2.3"}, "8.dcm: truncated: has no readable Rows"),
    ],
)
def test_a_private_object_of_the_series_and_a_private_image_without_rows(
    changed: dict, words: str, series: Path, change
) -> None:
    shutil.copy(series / "0.dcm", series / "8.dcm")
    geometry = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "BitsAllocated")
    gone = dict.fromkeys(("Rows", "PixelData", *(geometry if "Columns" in changed else ())))
    change(series, [8], SOPClassUID="1.3.46.670589.11.0.0.12.2", **gone, **changed)
    assert words in refusal(series)


@pytest.mark.parametrize("length", [*range(0, 1200, 20)])
@pytest.mark.parametrize("extension", [".dcm", ""])
def test_the_last_slice_cut_anywhere(length: int, extension: str, series: Path) -> None:
    for file in list(series.iterdir()):
        file.rename(file.with_suffix(extension))
    file = series / f"7{extension}"
    content = file.read_bytes()
    assert len(content) > 1100
    file.write_bytes(content[: min(length, len(content) - 1)])
    line = refusal(series)
    assert str(file) in line or f"{file.name} and" in line
