from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conemos_bundle.errors import UserError
from dicom_series import find_series
from make_series import write_series
from pydicom import dcmread


def positions(folder: Path) -> list[float]:
    return [float(dataset.ImagePositionPatient[2]) for dataset in find_series(folder)]


def refusal(folder: Path, *arguments: str | None) -> str:
    with pytest.raises(UserError) as error:
        find_series(folder, *arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_slices_are_sorted_by_their_place_whatever_the_files_are_called(series: Path) -> None:
    expected = positions(series)
    for index in range(8):
        (series / f"{index}.dcm").rename(series / f"x{(index * 3) % 8}")  # no extension either
    assert positions(series) == expected == sorted(expected)
    assert len(expected) == 8


def test_slices_are_found_in_folders_among_other_files(series: Path) -> None:
    (series / "part").mkdir()
    (series / "0.dcm").rename(series / "part" / "0.dcm")
    (series / "notes.txt").write_text("nothing")
    (series / "DICOMDIR").write_bytes((series / "1.dcm").read_bytes())
    (series / ".hidden.dcm").write_bytes(b"nothing")
    assert len(find_series(series)) == 8


def test_a_folder_without_a_series(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert f"{tmp_path}: no DICOM scan in this folder" in refusal(tmp_path)


def test_a_dcm_file_that_is_none(series: Path) -> None:
    (series / "9.dcm").write_bytes(b"nothing")
    assert "9.dcm: no DICOM file in spite of its name" in refusal(series)


def test_of_several_series_one_must_be_named(series: Path, voxels: np.ndarray, oblique: np.ndarray) -> None:
    other = write_series(series / "t2", voxels, oblique, SeriesNumber=7, SeriesDescription="T2 axial")
    line = refusal(series)
    uid = other[0].SeriesInstanceUID
    assert "holds 2 series; name one with --series UID" in line and f"{uid} (T2 axial, MR, 8 images)" in line
    for name in (uid, "7", "T2 axial"):
        assert {dataset.SeriesInstanceUID for dataset in find_series(series, None, name)} == {uid}
    assert "no series is called 'T1'" in refusal(series, None, "T1")


def test_the_model_s_modality_chooses(series: Path, voxels: np.ndarray, oblique: np.ndarray) -> None:
    write_series(series / "ct", voxels, oblique, Modality="CT", SeriesDescription="CT")
    assert {dataset.Modality for dataset in find_series(series, "MR")} == {"MR"}
    assert {dataset.Modality for dataset in find_series(series, "CT")} == {"CT"}
    assert "no PT series, which this model takes" in refusal(series, "PT")
    assert {dataset.Modality for dataset in find_series(series, "PT", "CT")} == {"CT"}


def test_a_segmentation_in_the_folder_is_no_scan(series: Path, voxels: np.ndarray, oblique: np.ndarray) -> None:
    write_series(series / "seg", voxels, oblique, Modality="SEG")
    assert {dataset.Modality for dataset in find_series(series)} == {"MR"}


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
    assert len(find_series(series)) == 8


def test_two_images_in_one_place(series: Path) -> None:
    shutil.copy(series / "2.dcm", series / "copy.dcm")
    line = refusal(series)
    assert "lie in one place" in line and "2.dcm" in line and "copy.dcm" in line


def test_mixed_orientations(series: Path, change) -> None:
    change(series, [4], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    assert "differ in ImageOrientationPatient, as in a localiser" in refusal(series)


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
        ({"PhotometricInterpretation": "RGB"}, "a colour image (RGB)"),
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
