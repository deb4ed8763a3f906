"""Values of DICOM tags, and what every slice of a scan must say about itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from conemos_bundle.errors import UserError
from pydicom import Dataset
from pydicom.valuerep import DA, TM

# all that reading a scan asks for; private and other tags are not parsed
READ = (
    "SOPClassUID", "SOPInstanceUID", "PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID",
    "SeriesNumber", "SeriesDescription", "FrameOfReferenceUID", "Modality", "ImageType", "EchoNumbers", "EchoTime",
    "InversionTime", "TemporalPositionIdentifier", "DiffusionBValue", "FrameReferenceTime", "Rows", "Columns",
    "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "ImageOrientationPatient",
    "ImagePositionPatient", "NumberOfFrames", "PerFrameFunctionalGroupsSequence", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "Units", "ModalityLUTSequence",
)  # fmt: skip
# without them a slice has no identity or no place in space
NEEDED = ("SeriesInstanceUID", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")
MULTI_FRAME = ("Enhanced", "Multi-frame", "Segmentation", "Parametric Map", "Whole Slide")  # in names of SOP classes
LONGEST = 1e5  # mm: no coordinate of a scanner is larger
SPACINGS = (1e-3, 1e2)  # mm
SLOPES = (1e-12, 1e12)
_PARSERS: dict[str, Any] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}


def tag_value(dataset: Dataset, name: str) -> Any:
    """A tag's value; None where it is absent, empty or cannot be read."""
    try:
        value = dataset.get(name)
        return None if value is None or str(value) in ("", "[]") else _PARSERS.get(name, lambda same: same)(value)
    except Exception:  # damaged bytes raise whatever they like: struct.error, decimal's, NotImplementedError, …
        return None


def numbers(dataset: Dataset, name: str, count: int) -> list[float] | None:
    """The ``count`` finite numbers of a tag; None where it has not just these."""
    value = tag_value(dataset, name)
    try:
        found = [float(one) for one in ([value] if isinstance(value, str | int | float) else value)]
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def reject_missing_tags(datasets: Sequence[Dataset], needed: Sequence[str] = NEEDED) -> None:
    """Called on the headers of one series.

    Raises:
        UserError: an image lacks a tag of ``needed``.
    """
    for dataset in datasets:
        missing = [name for name in needed if tag_value(dataset, name) is None]
        if missing:
            detector = [name for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing") if name in dataset]
            hint = f" ({detector[0]} is no measure in the patient)" if missing[0] == "PixelSpacing" and detector else ""
            raise UserError(
                f"{dataset.filename}: has no readable {missing[0]}{hint}, which every image of a series must have; "
                "export the series again, or leave out this file if it is no part of the scan"
            )


def reject_other_kinds(dataset: Dataset) -> None:
    """Called on the header of each slice.

    Raises:
        UserError: it is no image of one frame and one gray value per pixel, or contradicts itself.
    """
    problem = _kind_problem(dataset) or _geometry_problem(dataset) or _value_problem(dataset)
    if problem:
        raise UserError(f"{dataset.filename}: {problem}")


def _kind_problem(dataset: Dataset) -> str:
    kind = str(getattr(tag_value(dataset, "SOPClassUID"), "name", ""))
    frames = numbers(dataset, "NumberOfFrames", 1) if "NumberOfFrames" in dataset else [1]
    several = any(word in kind for word in MULTI_FRAME) or "PerFrameFunctionalGroupsSequence" in dataset
    if several or frames is None or frames[0] > 1:
        what = f" ({kind})" if several and kind else ""
        return f"an image of several frames{what}; convert it to one file per slice, or to NIfTI (dcm2niix does)"
    if frames[0] != 1:
        return f"has {frames[0]:g} frames; export it again"
    colors = str(tag_value(dataset, "PhotometricInterpretation") or "").strip()
    if colors not in ("MONOCHROME1", "MONOCHROME2"):
        return f"a color image ({colors or 'no PhotometricInterpretation'}); give a series of gray values"
    samples = numbers(dataset, "SamplesPerPixel", 1) if "SamplesPerPixel" in dataset else [1]
    if samples != [1]:
        return f"a color image (SamplesPerPixel {tag_value(dataset, 'SamplesPerPixel')}); give a series of gray values"
    return ""


def _geometry_problem(dataset: Dataset) -> str:
    for name in ("Rows", "Columns"):
        size = numbers(dataset, name, 1)
        if size is None or size[0] < 2:
            return f"its {name} are {tag_value(dataset, name)}; give a series of a 3D scan"
    spacing = numbers(dataset, "PixelSpacing", 2)
    if spacing is None or not all(SPACINGS[0] <= one <= SPACINGS[1] for one in spacing):
        return f"its PixelSpacing is {_shown(dataset, 'PixelSpacing')}, not two distances in mm; export it again"
    position = numbers(dataset, "ImagePositionPatient", 3)
    if position is None or max(map(abs, position)) > LONGEST:
        return f"its ImagePositionPatient is {_shown(dataset, 'ImagePositionPatient')}, no place in mm; export it again"
    directions = numbers(dataset, "ImageOrientationPatient", 6)
    if directions is None or not _at_right_angles(directions):
        return "its ImageOrientationPatient are no right-angled directions of length 1; export it again"
    return ""


def _at_right_angles(directions: Sequence[float], tolerance: float = 1e-3) -> bool:
    across, down = directions[:3], directions[3:]
    lengths = (math.hypot(*across) - 1, math.hypot(*down) - 1, sum(a * b for a, b in zip(across, down, strict=True)))
    return all(abs(off) <= tolerance for off in lengths)


def _value_problem(dataset: Dataset) -> str:
    names = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    bits = [numbers(dataset, name, 1) for name in names]
    allocated, stored, high, signed = (one[0] if one else None for one in bits)
    if high is None and "HighBit" not in dataset and stored is not None:
        high = stored - 1
    good = allocated in (8, 16, 32) and signed in (0, 1) and stored is not None
    if not good or not 1 <= (stored or 0) <= (allocated or 0) or high != (stored or 0) - 1:
        shown = ", ".join(f"{name} {_shown(dataset, name)}" for name in names)
        return f"its pixels are described as {shown}, which does not fit; export it again"
    if "ModalityLUTSequence" in dataset:
        return "its values stand in a table (Modality LUT); export it with a rescale slope"
    for name, lowest, highest in (("RescaleSlope", *SLOPES), ("RescaleIntercept", 0.0, SLOPES[1])):
        if name in dataset:
            value = numbers(dataset, name, 1)
            if value is None or not lowest <= abs(value[0]) <= highest:
                return f"its {name} is {_shown(dataset, name)}; export the series again"
    return ""


def _shown(dataset: Dataset, name: str) -> str:
    text = " ".join(str(tag_value(dataset, name)).split())
    return text if len(text) <= 60 else f"{text[:57]}…"
