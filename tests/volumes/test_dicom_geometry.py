"""Series that make no regular volume; `conemos predict` and the Deploy application refuse them in the same words."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conemos_bundle.data.scans import find_scans
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.volumes.dicom import check_series
from pydicom import dcmread


def positions(folder: Path) -> list[float]:
    return [float(dataset.ImagePositionPatient[2]) for dataset in check_series(folder)]


def refusal(folder: Path) -> str:
    """The line, which is that of every entry."""
    lines = set()
    for entry in (find_scans, find_series):
        with pytest.raises(UserError) as error:
            entry(folder)
        lines.add(str(error.value))
    assert len(lines) == 1
    (line,) = lines
    assert "\n" not in line
    return line


def test_slices_are_sorted_by_their_place_whatever_the_files_are_called(series: Path) -> None:
    expected = positions(series)
    for index in range(8):
        (series / f"{index}.dcm").rename(series / f"x{(index * 3) % 8}")  # no extension either
    assert positions(series) == expected == sorted(expected)
    assert len(expected) == 8


def test_a_dcm_file_that_is_none(series: Path) -> None:
    (series / "9.dcm").write_bytes(b"nothing")
    assert "9.dcm: no DICOM file in spite of its name" in refusal(series)


def test_missing_slices(series: Path) -> None:
    (series / "3.dcm").unlink()
    (series / "4.dcm").unlink()
    (series / "6.dcm").unlink()
    line = refusal(series)
    assert "3 slices are missing" in line and "9.00 mm apart there, 3.00 mm elsewhere" in line


def test_unequal_distances(series: Path, change) -> None:
    image = dcmread(series / "7.dcm")
    before = np.asarray(dcmread(series / "6.dcm").ImagePositionPatient, float)
    place = before + 1.2 * (np.asarray(image.ImagePositionPatient, float) - before)
    change(series, [7], ImagePositionPatient=[f"{x:.6f}" for x in place])
    assert "slices lie 3.000 to 3.600 mm apart" in refusal(series)


def test_positions_that_are_rounded_pass(series: Path, change) -> None:
    for index in range(8):
        place = np.asarray(dcmread(series / f"{index}.dcm").ImagePositionPatient, float)
        change(series, [index], ImagePositionPatient=[f"{x:.2f}" for x in place])
    assert len(check_series(series)) == 8


def test_two_images_in_one_place(series: Path) -> None:
    shutil.copy(series / "2.dcm", series / "copy.dcm")
    line = refusal(series)
    assert "lie in one place" in line and "2.dcm" in line and "copy.dcm" in line


def test_mixed_orientations(series: Path, change) -> None:
    change(series, [4], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    assert "differ in ImageOrientationPatient, as in a localizer" in refusal(series)


def test_directions_that_are_not_right_angled(series: Path, change) -> None:
    change(series, range(8), ImageOrientationPatient=[1, 0, 0, 0.7071, 0.7071, 0])
    assert "no right-angled directions" in refusal(series)


def test_a_tilted_gantry(series: Path, change) -> None:
    first = np.asarray(dcmread(series / "0.dcm").ImagePositionPatient, float)
    for index in range(8):
        change(
            series, [index],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[f"{x:.4f}" for x in first + np.array([0, 0.8, 3]) * index],
        )  # fmt: skip
    assert "a tilted gantry" in refusal(series)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Rows": 12}, "differ in Rows (12 and 10)"),
        ({"PixelSpacing": [2.5, 2.5]}, "differ in PixelSpacing"),
        ({"StudyInstanceUID": "1.2.3"}, "differ in StudyInstanceUID (1.2.3 and "),
        ({"FrameOfReferenceUID": "1.2.3"}, "differ in FrameOfReferenceUID"),
        ({"NumberOfFrames": 3}, "an image of several frames"),
        ({"PhotometricInterpretation": "RGB"}, "a color image (RGB)"),
    ],
)
def test_one_image_of_another_kind(tags: dict, words: str, series: Path, change) -> None:
    change(series, [5], **tags)
    line = refusal(series)
    assert words in line and "5.dcm" in line


def test_two_patients_are_refused_without_their_names(series: Path, change) -> None:
    change(series, [5], PatientID="Jane Doe")
    line = refusal(series)
    assert "differ in PatientID;" in line and "Jane" not in line


def test_a_single_slice(series: Path) -> None:
    for index in range(1, 8):
        (series / f"{index}.dcm").unlink()
    assert "has one slice" in refusal(series)
