"""Tags that DICOM SEG asks of its source images: filled where the standard allows them to be empty."""

from __future__ import annotations

from collections.abc import Sequence

from conemos_bundle.volumes.dicom_tags import tag_value
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


def fill_missing_tags(datasets: Sequence[Dataset]) -> list[str]:
    """Make absent tags of type 2 present and empty, in place: nothing is invented.

    Dates and times that cannot be read are emptied as well. A SeriesNumber that is empty or no number is taken out:
    the Deploy SDK's loader takes an absent one, and drops the series with a warning where it is empty.

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
