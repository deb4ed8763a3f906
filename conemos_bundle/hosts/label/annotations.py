"""What annotators saved, as masks of regions. A region that a saved file does not hold is unknown, never empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
from conemos_bundle.data.relations import Relation, relations, shared_voxels
from conemos_bundle.errors import UserError
from conemos_bundle.utils.known import IGNORED
from conemos_bundle.volumes import read_volume
from conemos_bundle.volumes.geometry import same_affine
from conemos_bundle.volumes.seg_nrrd import read_seg_nrrd

Mask = npt.NDArray[np.uint8]
TOLERANCE = 0.1  # the part of a predicted region that may lie on the wrong side of another's edge


def label_values(info: Mapping[str, Any], region_names: Sequence[str]) -> dict[str, int]:
    """The value of each region in a saved label map.

    Args:
        info: what MONAI Label keeps of a label: 3D Slicer and OHIF send ``label_info``, a name and a value (``idx``) a
            segment; a label that the model made has ``params.label_names``. Without either: 1..K.
        region_names: the K regions. Upper and lower case are alike.

    Returns:
        the values; regions of one value, or of 0, cannot be told apart, and are left out. None where all names that
        were told are others'.
    """
    told = _first_values(info)
    found = {region: told[region.lower()] for region in region_names if region.lower() in told}
    if not told:
        return {region: k + 1 for k, region in enumerate(region_names)}
    often = Counter(found.values())
    return {region: value for region, value in found.items() if value > 0 and often[value] == 1}


def _told_values(info: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Names and values that a client sent with a label; what is no such pair is left out."""
    listed, params = info.get("label_info"), info.get("params")
    pairs = (
        [(e.get("name"), e.get("idx")) for e in listed if isinstance(e, Mapping)] if isinstance(listed, list) else []
    )
    names = params.get("label_names") if isinstance(params, Mapping) else None
    pairs = pairs or (list(names.items()) if isinstance(names, Mapping) else [])
    whole = [(name, value) for name, value in pairs if isinstance(value, int | float) and value == value // 1]
    return [(normalize("NFC", str(name)), int(value)) for name, value in whole if abs(value) < 2**31]


def _first_values(info: Mapping[str, Any]) -> dict[str, int]:
    """The value of each name, in lower case; of segments of one name, that of the first (see `_joined`)."""
    told: dict[str, int] = {}
    for name, value in _told_values(info):
        if told.get(name.lower(), 0) <= 0:
            told[name.lower()] = value
    return told


def _joined(labels: npt.NDArray[Any], info: Mapping[str, Any]) -> npt.NDArray[Any]:
    """The label map where segments of one name, which 3D Slicer allows, have one value."""
    first = _first_values(info)
    for name, value in _told_values(info):
        if value > 0 and value != first[name.lower()]:
            labels = np.where(labels == value, first[name.lower()], labels)
    return labels


def masks_of_labels(
    labels: npt.NDArray[Any],
    values: Mapping[str, int],
    known: Mapping[tuple[str, str], str],
    ignore_others: bool = False,
) -> dict[str, Mask]:
    """Masks of the regions of a label map, where inner regions are painted over outer ones.

    Args:
        labels: ``(D, H, W)``.
        values: the value of each region, outer regions first.
        known: how two regions lie, ``("body", "brain")`` to ``"contains"``, ``"excludes"``, …, outer one first; see
            `relations`.
        ignore_others: whether voxels of values that are no region's, which may hide a part of any, are ignored.

    Returns:
        a mask ``(D, H, W)`` of 0, 1 and `IGNORED` of each region that is in the map and told by it: one that something
        lies inside of gets that back, and one that may be hidden by another that it overlaps is left out.
    """
    hidden = (labels != 0) & ~np.isin(labels, list(values.values()))
    present = [region for region, value in values.items() if bool((labels == value).any())]
    masks: dict[str, Mask] = {}
    for place, region in enumerate(present):
        over = {other: known.get((region, other), "unknown") for other in present[place + 1 :]}
        if any(relation not in ("contains", "excludes") for relation in over.values()):
            continue
        parts = [values[region], *(values[other] for other, relation in over.items() if relation == "contains")]
        masks[region] = np.isin(labels, parts).astype(np.uint8)
        if ignore_others:
            masks[region][hidden] = IGNORED
    return masks


def known_relations(
    predictions: Sequence[Mapping[str, Mask]], region_names: Sequence[str], inside: Mapping[str, str]
) -> dict[tuple[str, str], str]:
    """How the regions lie to each other, by what is declared and else by what the model predicts.

    Args:
        predictions: of some scans, a mask of each region.
        region_names: the K regions, outer first.
        inside: declared: region to the one that it lies inside of.
    """
    voxels = [{region: np.flatnonzero(mask) for region, mask in masks.items()} for masks in predictions]
    told: Sequence[Relation] = relations([shared_voxels(v, region_names) for v in voxels], region_names, TOLERANCE)
    known = {(a, b): name for a, name, b, _ in told}
    for inner, outer in inside.items():
        while outer is not None:
            known[outer, inner] = "contains"
            outer = inside.get(outer)  # type: ignore[assignment]
    return known


def on_grid(
    label: str, masks: npt.NDArray[Any], affine: npt.NDArray[Any], shape: Sequence[int], target: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Masks ``(R, d, h, w)`` of a file that may be cropped, on the scan's grid ``(R, D, H, W)``.

    Raises:
        UserError: its voxels are not the scan's.
    """
    start = np.linalg.solve(target, affine[:, 3])[:3]
    first = np.round(start).astype(int)
    last = first + masks.shape[1:]
    turned = np.where(np.arange(4) < 3, affine, target)  # places are compared in voxels
    same = same_affine(turned, target) and np.abs(start - first).max() < 0.05
    if not same or (first < 0).any() or (last > shape).any():
        raise UserError(f"{label}: its voxels are not the scan's; save it again on the scan's geometry")
    placed = np.zeros((len(masks), *shape), masks.dtype)
    placed[:, first[0] : last[0], first[1] : last[1], first[2] : last[2]] = masks
    return placed


def _segments(label: str) -> tuple[Mask, npt.NDArray[np.float64], list[str]] | None:
    """Masks, affine and names where the file holds segments; MONAI Label keeps a ``.seg.nrrd`` as ``.nrrd``."""
    if not label.endswith(".nrrd"):
        return None
    try:
        masks, affine, names = read_seg_nrrd(label)
    except UserError:
        return None  # a label map
    return masks, affine, [normalize("NFC", name) for name in names]


def _label_map(label: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Labels ``(1, D, H, W)`` and affine."""
    volume = read_volume(label, labels=True)
    return volume.voxels[:1], volume.affine


def regions_in(label: str, info: Mapping[str, Any], region_names: Sequence[str]) -> list[str]:
    """The regions that a saved label has voxels of.

    Raises:
        UserError: the file cannot be read.
    """
    segments = _segments(label)
    if segments is not None:
        drawn = {name.lower() for name, mask in zip(segments[2], segments[0], strict=True) if mask.any()}
        return [region for region in region_names if region.lower() in drawn]
    values = set(np.unique(_joined(_label_map(label)[0], info)))
    return [region for region, value in label_values(info, region_names).items() if value in values]


def drawn_names(label: str, info: Mapping[str, Any]) -> list[str]:
    """The names that a client sent with a saved label, or wrote into it, of what has voxels there.

    Raises:
        UserError: the file cannot be read.
    """
    segments = _segments(label)
    if segments is not None:
        return [name for name, mask in zip(segments[2], segments[0], strict=True) if mask.any()]
    told = _told_values(info)
    values = set(np.unique(_label_map(label)[0])) if told else set()
    return [name for name, value in told if value > 0 and value in values]


def read_saved(
    label: str,
    info: Mapping[str, Any],
    region_names: Sequence[str],
    known: Mapping[tuple[str, str], str],
    shape: Sequence[int],
    affine: npt.NDArray[Any],
    ignore_others: bool = True,
) -> dict[str, Mask]:
    """The masks ``(D, H, W)`` of the regions that a saved label annotates. Segments of one name are one region's.

    Args:
        label: a label map in any format, or a ``.seg.nrrd``, where regions may overlap.
        info: see `label_values`.
        region_names: the K regions, outer first.
        known: see `masks_of_labels`.
        shape: the scan's.
        affine: the scan's, voxel to mm in RAS.
        ignore_others: whether the voxels of a label map that are of segments of other names are ignored; else they are
            outside of the regions.

    Raises:
        UserError: the file cannot be read, or lies on another grid than the scan.
    """
    segments = _segments(label)
    if segments is None:
        labels = _joined(on_grid(label, *_label_map(label), shape, affine)[0], info)
        return masks_of_labels(labels, label_values(info, region_names), known, ignore_others)
    masks, grid, names = segments
    placed = on_grid(label, masks, grid, shape, affine)
    drawn: dict[str, Mask] = {}
    for name, mask in zip(names, placed, strict=True):
        if mask.any():
            drawn[name.lower()] = drawn[name.lower()] | mask if name.lower() in drawn else mask
    return {region: drawn[region.lower()] for region in region_names if region.lower() in drawn}
