"""Tags that a DICOM series should have: filled where the standard allows them to be empty, else refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conemos_bundle.errors import UserError
from pydicom import Dataset
from pydicom.valuerep import DA, TM

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
# type 1: without them the images have no identity or no place in space
NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
)
_PARSERS: dict[str, Any] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}


def tag_value(dataset: Dataset, name: str) -> Any:
    """A tag's value; None where it is absent, empty or cannot be read."""
    try:
        value = dataset.get(name)
        return None if value is None or str(value) in ("", "[]") else _PARSERS.get(name, lambda same: same)(value)
    except (ValueError, TypeError, ArithmeticError):  # Decimal raises the last one
        return None


def refuse_missing_tags(datasets: Sequence[Dataset]) -> None:
    """Called on the headers of one series.

    Raises:
        UserError: an image lacks a tag of type 1.
    """
    for dataset in datasets:
        missing = [name for name in NEEDED if tag_value(dataset, name) is None]
        if missing:
            raise UserError(
                f"{dataset.filename}: has no readable {missing[0]}, which every image of a series must have; "
                "export the series again, or leave out this file if it is no part of the scan"
            )


def fill_missing_tags(datasets: Sequence[Dataset]) -> list[str]:
    """Make absent tags of type 2 present and empty, in place: nothing is invented.

    Dates and times that cannot be read are emptied as well. A SeriesNumber that is empty or no number is taken out:
    the SDK's loader takes an absent one, and drops the series with a warning where it is empty.

    Returns:
        the names of the tags that were changed, sorted.
    """
    filled = set()
    for dataset in datasets:
        for name in MAY_BE_EMPTY:
            if name not in dataset or (_is_filled(dataset, name) and tag_value(dataset, name) is None):
                setattr(dataset, name, None)
                filled.add(name)
        if not isinstance(tag_value(dataset, "SeriesNumber"), int):
            dataset.pop("SeriesNumber", None)
            filled.add("SeriesNumber")
    return sorted(filled)


def _is_filled(dataset: Dataset, name: str) -> bool:
    """Whether there is something in a tag, readable or not: its raw bytes are looked at."""
    return bool(dataset.get_item(name).value)
