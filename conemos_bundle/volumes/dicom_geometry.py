"""Whether slices make one regular volume, and where it lies: by their positions, never by a slice thickness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.dicom_tags import SPACINGS, reject_missing_tags, reject_other_kinds, tag_value
from pydicom import Dataset

SAME = (
    "PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "Modality", "Rows", "Columns",
    "PhotometricInterpretation", "RescaleType", "Units",
)  # fmt: skip
NAMES = ("PatientID", "PatientName")  # not for the screen
# one value per volume; numbers of acquisitions may differ, as in a scan that was made in two parts
CONTRAST = ("EchoNumbers", "EchoTime", "InversionTime", "TemporalPositionIdentifier", "DiffusionBValue")
MISSING_SLICE = 1.5  # times the usual distance of neighbors
UNEQUAL = 0.01  # of the usual distance: highdicom's tolerance too
ROUNDED = 0.05  # mm: positions and directions are written with a few digits
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def sort_slices(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Slices in ascending order along their normal, as ITK has them.

    Raises:
        UserError: they make no regular volume: one slice, several frames per file, colors, mixed orientations, sizes,
            patients, echoes or kinds of image, two images in one place, missing slices, unequal distances or a tilted
            gantry.
    """
    reject_missing_tags(datasets)
    first = datasets[0]
    name = f"series {first.SeriesInstanceUID} ({Path(first.filename).parent})"
    for dataset in datasets:
        reject_other_kinds(dataset)
    for dataset in datasets:
        _reject_mixed(dataset, first, name)
    if len(datasets) < 2:
        raise UserError(
            f"{name}: has one slice, a 2D image of {first.Columns} x {first.Rows} x 1; give a series of a 3D scan"
        )
    normal = _axes(first)[:, 2]
    ordered = sorted(datasets, key=lambda dataset: float(normal @ _position(dataset)))
    _reject_copies(ordered, normal, name)
    _reject_gaps(ordered, normal, name)
    return ordered


def series_affine(ordered: Sequence[Dataset]) -> npt.NDArray[np.float64]:
    """The affine of sorted slices: 4x4, voxel ``(column, row, slice)`` to mm in RAS+, with axes at right angles."""
    axes = _axes(ordered[0])
    first, last = _position(ordered[0]), _position(ordered[-1])
    rows_apart, columns_apart = map(float, ordered[0].PixelSpacing)
    slices_apart = (last - first) @ axes[:, 2] / (len(ordered) - 1)
    lps = np.eye(4)
    lps[:3, :3] = axes * [columns_apart, rows_apart, slices_apart]
    lps[:3, 3] = first
    return LPS_TO_RAS @ lps


def _axes(dataset: Dataset) -> npt.NDArray[np.float64]:
    """Unit vectors along columns, rows and slices, in LPS, as columns; the nearest at right angles to what is given."""
    across, down = np.reshape([float(one) for one in dataset.ImageOrientationPatient], (2, 3))
    left, _, right = np.linalg.svd(np.stack([across, down, np.cross(across, down)], axis=1))
    return np.asarray(left @ right, np.float64)


def _position(dataset: Dataset) -> npt.NDArray[np.float64]:
    return np.array([float(one) for one in dataset.ImagePositionPatient], np.float64)


def _reject_mixed(dataset: Dataset, first: Dataset, name: str) -> None:
    """Refuse a slice that differs from the first one in what all slices of a volume share."""
    two = f"{name}: {Path(dataset.filename).name} and {Path(first.filename).name} differ in"
    for tag in SAME:
        value, other = tag_value(dataset, tag), tag_value(first, tag)
        if value != other:
            shown = "" if tag in NAMES else f" ({value} and {other})"
            raise UserError(f"{two} {tag}{shown}; keep only the images of one scan")
    for tag in CONTRAST:
        value, other = tag_value(dataset, tag), tag_value(first, tag)
        if value != other:
            raise UserError(f"{two} {tag} ({value} and {other}); keep the images of one echo, phase or contrast")
    for tag in ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"):
        if (tag in dataset) != (tag in first):
            raise UserError(f"{two} whether they have a {tag}; send the whole series again")
    kind, other = _image_kind(dataset), _image_kind(first)
    if kind != other:
        raise UserError(f"{two} ImageType ({kind} and {other}); keep only the slices of one kind of image")
    for tag, tolerance in (("ImageOrientationPatient", 1e-3), ("PixelSpacing", 1e-4)):
        values, others = (np.array([float(number) for number in one[tag].value]) for one in (dataset, first))
        if np.abs(values - others).max() > tolerance:
            raise UserError(f"{two} {tag}, as in a localizer; keep only the slices of one orientation and size")


def _image_kind(dataset: Dataset) -> Any:
    """What kind of image it is within its SOP class: AXIAL, LOCALIZER, M (magnitude), P (phase), …"""
    values = tag_value(dataset, "ImageType")
    return None if values is None or isinstance(values, str) or len(values) < 3 else str(values[2])


def _reject_copies(ordered: Sequence[Dataset], normal: npt.NDArray[np.float64], name: str) -> None:
    places = np.array([_position(dataset) for dataset in ordered])
    steps = np.diff(places @ normal)
    for before, after, step in zip(ordered, ordered[1:], steps, strict=False):
        if step <= min(ROUNDED, steps.max() / 10):
            raise UserError(
                f"{name}: {Path(before.filename).name} and {Path(after.filename).name} lie in one place: copies, or "
                "several echoes, phases or times in one series; leave one image per place"
            )
    seen: dict[str, str] = {}
    for dataset in ordered:
        uid, file = str(tag_value(dataset, "SOPInstanceUID")), str(dataset.filename)
        if uid != "None" and seen.setdefault(uid, file) != file:
            raise UserError(
                f"{name}: {Path(seen[uid]).name} and {Path(file).name} have one SOPInstanceUID; leave one of them"
            )


def _usual(steps: npt.NDArray[np.float64]) -> float:
    """The distance of neighbors: missing slices make distances larger, never smaller."""
    return float(np.percentile(steps, 25, method="lower"))


def _reject_gaps(ordered: Sequence[Dataset], normal: npt.NDArray[np.float64], name: str) -> None:
    positions = np.array([_position(dataset) for dataset in ordered])
    along = positions @ normal
    steps = np.diff(along)
    usual = _usual(steps)
    gaps = [(place, step) for place, step in zip(along, steps, strict=False) if step > MISSING_SLICE * usual]
    if gaps:
        missing = sum(max(1, round(step / usual) - 1) for _, step in gaps)
        raise UserError(
            f"{name}: {missing} slices are missing, the first {gaps[0][0] + usual:.2f} mm along the normal "
            f"(neighbors lie {gaps[0][1]:.2f} mm apart there, {usual:.2f} mm elsewhere); send the whole series again"
        )
    apart = (along[-1] - along[0]) / (len(ordered) - 1)
    if not SPACINGS[0] <= apart <= SPACINGS[1]:
        raise UserError(f"{name}: its slices lie {apart:g} mm apart, which no scanner does; export the series again")
    off = positions - positions[0] - np.outer(apart * np.arange(len(ordered)), normal)
    off_along = off @ normal
    tolerance = max(UNEQUAL * apart, min(ROUNDED, apart / 10))
    if np.abs(off_along).max() > tolerance:
        raise UserError(
            f"{name}: its slices lie {steps.min():.3f} to {steps.max():.3f} mm apart; "
            "resample it to equal distances, or take a series that has them"
        )
    if np.linalg.norm(off - np.outer(off_along, normal), axis=1).max() > max(tolerance, ROUNDED):
        raise UserError(f"{name}: its slices are shifted sideways (a tilted gantry); resample it to right angles")
