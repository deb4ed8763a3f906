from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.volumes.dicom_seg_tags import MAY_BE_EMPTY, NEEDED, fill_missing_tags
from conemos_bundle.volumes.region_codes import read_table, region_code, segment_descriptions


def segmentation(datasets: list) -> highdicom.seg.Segmentation:
    code = region_code("hippocampus", ["hippocampus"], read_table())
    return highdicom.seg.Segmentation(
        datasets, np.ones((8, 10, 12, 1), np.uint8), "BINARY", segment_descriptions(["hippocampus"], [code], "m", "1"),
        highdicom.UID(), 1, highdicom.UID(), 1, "maker", "model", "1", "0", omit_empty_frames=False,
    )  # fmt: skip


def test_a_complete_series_stays_as_it_is(series: Path) -> None:
    datasets = find_series(series)
    before = [dataset.to_json() for dataset in datasets]
    assert fill_missing_tags(datasets) == []
    assert [dataset.to_json() for dataset in datasets] == before


@pytest.mark.parametrize("tag", MAY_BE_EMPTY)
def test_an_absent_tag_of_type_2_is_filled_with_nothing(tag: str, series: Path, change) -> None:
    change(series, range(8), **{tag: None})
    datasets = find_series(series)
    if tag != "ReferringPhysicianName":
        with pytest.raises(AttributeError):  # highdicom's word for it: what the filling is for
            segmentation(datasets)
    assert fill_missing_tags(datasets) == [tag]
    assert tag in datasets[0] and not datasets[0][tag].value
    assert not segmentation(datasets)[tag].value


@pytest.mark.parametrize(
    ("tag", "value", "expected"),
    [
        ("PatientSex", "U", ""),
        ("PatientSex", "F", None),
        ("SliceThickness", None, 3),
        ("SliceThickness", "", 3),
        ("SliceThickness", "0", 3),
        ("SliceThickness", "2.5", None),
    ],
)
def test_what_dicom_does_not_know_is_filled_and_told(
    tag: str, value: str | None, expected: object, series: Path, change
) -> None:
    change(series, range(8), **{tag: value})
    datasets = find_series(series)
    assert fill_missing_tags(datasets) == ([] if expected is None else [tag])
    assert segmentation(datasets)
    for dataset in datasets:
        assert (dataset[tag].value or "") == (value if expected is None else expected)


@pytest.mark.parametrize("value", [None, "", "first"])
def test_a_series_number_that_is_no_number_is_taken_out(value: str | None, series: Path, change) -> None:
    if value == "first":
        for file in series.iterdir():  # pydicom does not write this, but scanners' software does
            file.write_bytes(
                file.read_bytes().replace(b"\x20\x00\x11\x00IS\x02\x001 ", b"\x20\x00\x11\x00IS\x02\x00xy")
            )
    else:
        change(series, range(8), SeriesNumber=value)
    datasets = find_series(series)
    assert fill_missing_tags(datasets) == ["SeriesNumber"]
    assert all("SeriesNumber" not in dataset for dataset in datasets)


def test_a_date_that_cannot_be_read_is_emptied(series: Path) -> None:
    for file in series.iterdir():
        file.write_bytes(file.read_bytes().replace(b"20240102", b"ANONYMUS"))
    datasets = find_series(series)
    assert fill_missing_tags(datasets) == ["StudyDate"]
    assert not segmentation(datasets).StudyDate


@pytest.mark.parametrize("tag", [tag for tag in NEEDED if tag != "SOPClassUID"])
def test_an_image_without_what_a_segmentation_needs_is_refused(tag: str, series: Path, change) -> None:
    change(series, [3], **{tag: None})
    with pytest.raises(UserError, match=rf"\.dcm: has no readable {tag}") as error:
        find_series(series)
    assert "\n" not in str(error.value)
