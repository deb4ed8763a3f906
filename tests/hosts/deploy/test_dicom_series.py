from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.hosts.deploy.make_series import write_series


def refusal(folder: Path, *arguments: str | None) -> str:
    with pytest.raises(UserError) as error:
        find_series(folder, *arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


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
