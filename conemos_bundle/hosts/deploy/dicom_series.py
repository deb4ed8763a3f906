"""The one series of a DICOM folder that is to be segmented, where there may be several; the package checks it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conemos_bundle.errors import UserError
from conemos_bundle.volumes.dicom import check_slices
from conemos_bundle.volumes.dicom_files import series_in
from conemos_bundle.volumes.dicom_seg_tags import NEEDED
from conemos_bundle.volumes.dicom_tags import reject_missing_tags, tag_value
from pydicom import Dataset


def find_series(folder: Path, modality: str | None = None, wanted: str | None = None) -> list[Dataset]:
    """The headers of the series to segment, sorted along its slices' normal.

    Args:
        folder: searched with all its folders; files that are not DICOM are passed over.
        modality: such as ``MR``: only series of this modality are candidates; None: all scans.
        wanted: SeriesInstanceUID, SeriesNumber or SeriesDescription of the series, where there are several; a series
            that is named is taken whatever its modality.

    Returns:
        D datasets without pixels, each with its ``filename``.

    Raises:
        UserError: no series, several of them, or one that makes no regular volume.
    """
    found = series_in(folder)
    if not found:
        raise UserError(f"{folder}: no DICOM scan in this folder; give the folder of one series")
    if wanted:
        candidates = [series for series in found if wanted in _names(series[0])]
    else:
        candidates = [series for series in found if modality is None or tag_value(series[0], "Modality") == modality]
    if len(candidates) != 1:
        listed = "; ".join(_describe(series) for series in (candidates or found)[:10])
        if wanted:
            asked = f"{len(candidates)} series are called" if candidates else "no series is called"
            problem = f"{asked} {wanted!r} by UID, number or description"
        elif candidates:
            problem = f"holds {len(candidates)} series"
        else:
            problem = f"no {modality} series, which this model takes; --series takes another one all the same"
        raise UserError(f"{folder}: {problem}; name one with --series UID. Found: {listed}")
    reject_missing_tags(candidates[0], NEEDED)
    return check_slices(candidates[0])


def _names(dataset: Dataset) -> list[str]:
    values = [tag_value(dataset, name) for name in ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription")]
    return [str(value).strip() for value in values if value is not None]


def _describe(series: Sequence[Dataset]) -> str:
    uid, description, modality = (
        tag_value(series[0], name) or f"no {name}" for name in ("SeriesInstanceUID", "SeriesDescription", "Modality")
    )
    return f"{uid} ({description}, {modality}, {len(series)} images)"
