"""The one series of a DICOM folder that is to be segmented, whole and regular, or a refusal in one line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from conemos_bundle.errors import UserError
from dicom_tags import refuse_missing_tags, tag_value
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

# objects with rows and columns that are made from scans
NOT_SCANS = ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "SR", "KO", "REG", "DOC", "OT")
SAME_IN_A_SERIES = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")
MISSING_SLICE = 1.5  # times the usual distance of neighbours
UNEQUAL = 0.01  # of the usual distance: highdicom's tolerance too


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
    found = _scans_by_series(folder)
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
    refuse_missing_tags(candidates[0])
    return sort_slices(candidates[0])


def sort_slices(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Slices in ascending order along their normal, as ITK and the SDK have them.

    Raises:
        UserError: they make no regular volume: one slice, several frames a file, colours, mixed orientations, sizes or
            patients, two images in one place, missing slices, unequal distances or a tilted gantry.
    """
    first = datasets[0]
    name = f"series {first.SeriesInstanceUID} ({Path(first.filename).parent})"
    for dataset in datasets:
        _refuse_other_kind(dataset, first, name)
    if len(datasets) < 2:
        raise UserError(f"{name}: has one slice; give a series of a 3D scan")
    across, down = np.reshape(np.asarray(first.ImageOrientationPatient, float), (2, 3))
    normal = np.cross(across, down)
    if abs(np.linalg.norm(normal) - 1) > 1e-3:
        raise UserError(
            f"{first.filename}: its ImageOrientationPatient are no right-angled directions; export it again"
        )
    ordered = sorted(
        datasets, key=lambda dataset: float(np.dot(normal, np.asarray(dataset.ImagePositionPatient, float)))
    )
    positions = np.array([np.asarray(dataset.ImagePositionPatient, float) for dataset in ordered])
    steps = np.diff(positions @ normal)
    usual = float(np.percentile(steps, 25, method="lower"))  # missing slices make distances larger, never smaller
    for before, after, step in zip(ordered, ordered[1:], steps, strict=False):
        if step < 0.01 * max(usual, 0.01):
            raise UserError(
                f"{name}: {Path(before.filename).name} and {Path(after.filename).name} lie in one place: copies, or "
                "several echoes or times in one series; leave one image a place"
            )
    gaps = [
        (place, step) for place, step in zip(positions @ normal, steps, strict=False) if step > MISSING_SLICE * usual
    ]
    if gaps:
        missing = sum(max(1, round(step / usual) - 1) for _, step in gaps)
        raise UserError(
            f"{name}: {missing} slices are missing, the first {gaps[0][0] + usual:.2f} mm along the normal "
            f"(neighbours lie {gaps[0][1]:.2f} mm apart there, {usual:.2f} mm elsewhere); send the whole series again"
        )
    if np.abs(steps - usual).max() > UNEQUAL * usual:
        raise UserError(
            f"{name}: its slices lie {steps.min():.3f} to {steps.max():.3f} mm apart; "
            "resample it to equal distances, or take a series that has them"
        )
    drift = positions[-1] - positions[0]
    if np.linalg.norm(drift - normal * (drift @ normal)) > UNEQUAL * abs(drift @ normal):
        raise UserError(f"{name}: its slices are shifted sideways (a tilted gantry); resample it to right angles")
    return ordered


def _refuse_other_kind(dataset: Dataset, first: Dataset, name: str) -> None:
    """What every image must be, and must share with the first one of its series."""
    if int(tag_value(dataset, "NumberOfFrames") or 1) > 1:
        raise UserError(f"{dataset.filename}: an image of several frames; convert it to one file a slice")
    colours = tag_value(dataset, "PhotometricInterpretation")
    if colours not in (None, "MONOCHROME1", "MONOCHROME2"):
        raise UserError(f"{dataset.filename}: a colour image ({colours}); give a series of grey values")
    for tag in SAME_IN_A_SERIES:
        value, other = tag_value(dataset, tag), tag_value(first, tag)
        if value != other:
            shown = "" if tag == "PatientID" else f" ({value} and {other})"  # no names of patients on the screen
            raise UserError(
                f"{name}: {Path(dataset.filename).name} and {Path(first.filename).name} differ in {tag}{shown}; "
                "keep only the images of one scan"
            )
    for tag, tolerance in (("ImageOrientationPatient", 1e-3), ("PixelSpacing", 1e-4)):
        values, others = (np.asarray(one[tag].value, float) for one in (dataset, first))
        if values.shape != others.shape or np.abs(values - others).max() > tolerance:
            raise UserError(
                f"{name}: {Path(dataset.filename).name} and {Path(first.filename).name} differ in {tag}, "
                "as in a localiser; keep only the slices of one orientation and size"
            )


def _scans_by_series(folder: Path) -> list[list[Dataset]]:
    series = defaultdict(list)
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")):
        dataset = _header(file)
        if dataset is None or "Rows" not in dataset or tag_value(dataset, "Modality") in NOT_SCANS:
            continue
        series[str(tag_value(dataset, "SeriesInstanceUID") or "")].append(dataset)
    return [series[uid] for uid in sorted(series)]


def _header(file: Path) -> Dataset | None:
    """A DICOM file's header; None for other files and for DICOMDIR, which is an index."""
    if file.name.upper() == "DICOMDIR":
        return None
    try:
        return dcmread(file, stop_before_pixels=True)
    except InvalidDicomError as error:
        if file.suffix.lower() in (".dcm", ".ima"):
            raise UserError(f"{file}: no DICOM file in spite of its name; remove it, or export it again") from error
        return None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); check it and its rights") from error


def _names(dataset: Dataset) -> list[str]:
    values = [tag_value(dataset, name) for name in ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription")]
    return [str(value).strip() for value in values if value is not None]


def _describe(series: Sequence[Dataset]) -> str:
    uid, description, modality = (
        tag_value(series[0], name) or f"no {name}" for name in ("SeriesInstanceUID", "SeriesDescription", "Modality")
    )
    return f"{uid} ({description}, {modality}, {len(series)} images)"
