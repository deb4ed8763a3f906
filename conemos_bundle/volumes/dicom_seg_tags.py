"""Tags that DICOM SEG takes from its source images: filled where the standard allows it; places are those measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from conemos_bundle.volumes.dicom_geometry import series_affine
from conemos_bundle.volumes.dicom_tags import numbers, tag_value
from pydicom import Dataset

# type 2: "shall be present, may be empty". highdicom copies them into the SEG and raises where one is absent
MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
# what DICOM SEG asks for beside what the package needs to read a series
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")


SEXES = ("M", "F", "O")  # all that DICOM knows


def fill_missing_tags(datasets: Sequence[Dataset]) -> list[str]:
    """Make absent tags of type 2 present and empty, in place: nothing is invented.

    Dates and times that cannot be read, and a sex that DICOM does not know, are emptied as well. A SliceThickness that
    is absent or not positive becomes the distance of the slices. A SeriesNumber that is empty or no number is taken
    out: the Deploy SDK's loader takes an absent one, and drops the series with a warning where it is empty.

    Without a word, since the reader goes by positions alone: SpacingBetweenSlices is taken out, and directions, which
    may differ in their last digits, become those of the first image.

    Args:
        datasets: of one series that was checked, sorted.

    Returns:
        the names of the tags that were changed, sorted.
    """
    filled = set()
    apart = float(np.linalg.norm(series_affine(datasets)[:3, 2]))
    for dataset in datasets:
        for name in MAY_BE_EMPTY:
            if name not in dataset or (_is_filled(dataset, name) and not _is_good(dataset, name)):
                setattr(dataset, name, None)
                filled.add(name)
        if (numbers(dataset, "SliceThickness", 1) or [0.0])[0] <= 0:
            dataset.SliceThickness = f"{apart:.10g}"
            filled.add("SliceThickness")
        if not isinstance(tag_value(dataset, "SeriesNumber"), int):
            dataset.pop("SeriesNumber", None)
            filled.add("SeriesNumber")
        dataset.pop("SpacingBetweenSlices", None)
        if dataset.ImageOrientationPatient != datasets[0].ImageOrientationPatient:
            dataset.ImageOrientationPatient = datasets[0].ImageOrientationPatient
    return sorted(filled)


def _is_good(dataset: Dataset, name: str) -> bool:
    value = tag_value(dataset, name)
    return value in SEXES if name == "PatientSex" else value is not None


def _is_filled(dataset: Dataset, name: str) -> bool:
    """Whether there is something in a tag, readable or not: its raw bytes are looked at."""
    return bool(dataset.get_item(name).value)
