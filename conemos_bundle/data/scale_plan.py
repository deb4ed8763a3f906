"""The scale of each region, from the masks of training scans: its extent, a spacing that suits it, where it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.errors import UsageError, UserError
from conemos_bundle.scales import Factor, RegionScale, check_scales, with_margin
from conemos_bundle.transforms.masks import LoadRegionMasksd
from conemos_bundle.transforms.resample import closest_ras
from conemos_bundle.utils.known import IGNORED
from conemos_bundle.utils.records import one_line
from conemos_bundle.volumes import read_geometry
from monai.data import MetaTensor
from pydantic import ValidationError
from scipy import ndimage

MODES = ("one", "own")
COARSEST = 64
LONGEST = 64  # voxels that a region's longest side spans at its own scale, at most; at least half of it
LARGEST = 48  # voxels of a patch's sides
SMALLEST = 16  # voxels of a patch's sides
AROUND = 1.2  # times the region's longest side, at most LARGEST
MOST_READ = 16  # scans per region
FEWEST = 3  # scans that must tell that a region contains another
FEWEST_BOXES = 10  # that its box does: chance alone would have it so in a few
TOLERANCE = 0.005  # of the voxels that may lie outside
NEARLY_ALL = 0.99  # of a region's volume: in the parts that count
RARE = 0.1  # of the masks may have smaller parts
SMALLER_PART = 0.5  # times the smallest part of a mask: a predicted one
SMALLER = 0.8  # of the volume of the region that it is looked for within, at most
MOST_SEARCHED = 3  # times 48³ voxels, at a region's own scale: in more than that it is found first


def plan_scales(
    plan: Mapping[str, Any],
    items: Sequence[dict[str, Any]],
    datalist: Datalist,
    scales: str | Mapping[str, Mapping[str, Any]] = "one",
    patch_size: Sequence[int] | None = None,
) -> dict[str, Any]:
    """The plan, with the scale of each region where ``scales`` is not ``"one"``.

    Of up to 16 training scans per region, the median extent of its bounding box decides: the spacing is the plan's
    times the smallest power of two at which the longest side spans at most 64 voxels, in each axis as far as voxels
    become cubes. A region is looked for within the smallest one that contains it (by declaration, or in all scans that
    annotate both, three at least) or whose box does, with its margin (in ten scans at least). It is found
    there at that one's spacing first, unless its own is coarser, and then looked at again in its own box: in the middle
    of a window it is segmented better than at the edge. One that may be anywhere in a scan of more than 3 · 48³ voxels
    at its own spacing is found first at one where the scan has fewer. Of what is found, a connected part is dropped
    that is less than half as large, beside the largest one, as the smallest one of nine masks in ten (among the parts
    that make 99% of a mask).

    Args:
        plan: of `plan_input`.
        items: training items as `scan_items` gives them.
        datalist: says what the regions are, and which it declares inside which.
        scales: ``"one"``: one spacing for all regions; ``"own"``; or, by the names of regions, what shall be otherwise
            than ``"own"`` finds: some of ``factor``, ``within``, ``found_at``, ``patch_size``, ``speck``.
        patch_size: voxels of a patch at every scale; None: a cube that holds the region and a tenth of its longest side
            around it, as far as the scan goes.

    Raises:
        UserError: a mask cannot be read, or ``scales`` is none of these.
    """
    if scales == "one":
        return dict(plan)
    regions = datalist.regions
    by_hand = scales if isinstance(scales, Mapping) else {}
    if isinstance(scales, Mapping):
        if unknown := [region for region in by_hand if region not in regions]:
            raise UsageError(f"--scales: {unknown[0]!r} is no region; use some of {', '.join(regions)}")
    elif scales != "own":
        raise UsageError(f"--scales {str(scales)[:60]!r}: use one, own, or what shall be otherwise per region")
    for region, scale in by_hand.items():
        _check_one(region, scale)
    if all("extent_mm" in by_hand.get(region, {}) and "factor" in by_hand[region] for region in regions):
        return _planned(plan, by_hand, regions, patch_size)
    extents, volumes, telling, specks, scan = _measure(items, regions, plan["spacing"])
    within = _beside(_within(telling, volumes), datalist.inside)
    found: dict[str, dict[str, Any]] = {}
    for region in regions:
        factor = own_factor(extents[region], plan["spacing"])
        found[region] = {
            "extent_mm": [round(e, 1) for e in extents[region]],
            "factor": list(factor),
            "within": within.get(region),
            "speck": specks.get(region),
            **{
                name: value for name, value in by_hand.get(region, {}).items() if name not in ("found_at", "patch_size")
            },
        }
    for region, scale in found.items():
        own = {"found_at": _found_at(scale, found, scan, plan), "patch_size": _patch(scale, scan, plan["spacing"])}
        scale.update({name: by_hand.get(region, {}).get(name, value) for name, value in own.items()})
    return _planned(plan, found, regions, patch_size)


def _beside(found: Mapping[str, str], declared: Mapping[str, str]) -> dict[str, str]:
    """What lies within what: as declared, and as found where that does not contradict it."""
    within = dict(declared)
    for inner, outer in found.items():
        place = outer
        while place != inner and place in within:
            place = within[place]
        if inner not in within and place != inner:
            within[inner] = outer
    return within


def _planned(
    plan: Mapping[str, Any],
    found: Mapping[str, Mapping[str, Any]],
    regions: Sequence[str],
    patch_size: Sequence[int] | None,
) -> dict[str, Any]:
    """The plan with these scales, once they are checked."""
    try:
        told = {
            region: RegionScale.model_validate(scale).model_dump(exclude_none=True) for region, scale in found.items()
        }
        check_scales(told, regions)
    except ValidationError as error:
        raise UsageError(f"--scales: {one_line(error)}") from error
    except ValueError as error:
        raise UsageError(f"--scales: {error}") from error
    if patch_size is not None:
        told = {region: {**scale, "patch_size": list(patch_size)} for region, scale in told.items()}
    largest = np.max([scale["patch_size"] for scale in told.values()], axis=0).tolist()
    return {**plan, "patch_size": largest, "whole_scans": False, "scales": told}


def _check_one(region: str, scale: Mapping[str, Any]) -> None:
    """Refuse what is said by hand of a region, before it is computed with."""
    if not isinstance(scale, Mapping):
        raise UsageError(f"--scales: {region}: give what shall be otherwise, such as {{'factor': [2, 2, 2]}}")
    try:
        RegionScale.model_validate({"extent_mm": [1, 1, 1], "factor": [1, 1, 1], "patch_size": [1, 1, 1], **scale})
    except ValidationError as error:
        raise UsageError(f"--scales: {region}: {one_line(error)}") from error


def factors(coarseness: int, spacing: Sequence[float]) -> Factor:
    """Powers of two per axis that make voxels of ``spacing`` about ``coarseness`` times as large, and cubes."""
    target = coarseness * min(spacing)
    x, y, z = (2 ** max(0, round(math.log2(target / side))) for side in spacing)
    return x, y, z


def own_factor(extent_mm: Sequence[float], spacing: Sequence[float]) -> Factor:
    """The smallest `factors` at which no side of a box spans more than 64 voxels.

    Args:
        extent_mm: its sides.
        spacing: of the voxels, mm.

    Example::

        >>> own_factor([280, 200, 150], [3, 3, 3])
        (2, 2, 2)
    """
    coarseness = 1
    while True:
        found = factors(coarseness, spacing)
        if (
            coarseness >= COARSEST
            or max(e / (s * f) for e, s, f in zip(extent_mm, spacing, found, strict=True)) <= LONGEST
        ):
            return found
        coarseness *= 2


def scale_rows(plan: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A plan's ``scales`` as rows of text, the headings first: extent, spacing, where each region is looked for."""

    def spacing(factor: Sequence[int]) -> str:
        return " x ".join(f"{side * f:.3g}" for side, f in zip(plan["spacing"], factor, strict=True))

    rows: list[tuple[str, ...]] = [("region", "extent (mm)", "spacing (mm)", "speck", "looked for")]
    for region, scale in plan["scales"].items():
        extent = " x ".join(f"{side:.0f}" for side in scale["extent_mm"])
        place = "in the whole scan" if scale.get("within") is None else f"in the box of {scale['within']}"
        coarse = f", first at {spacing(scale['found_at'])} mm" if scale.get("found_at") else ""
        rows.append((region, extent, spacing(scale["factor"]), f"{scale.get('speck', 0):.2g}", place + coarse))
    return rows


def describe_scales(plan: Mapping[str, Any]) -> str:
    """A table of a plan's ``scales``: extent and spacing of each region, and where it is looked for."""
    rows = scale_rows(plan)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _measure(
    items: Sequence[dict[str, Any]], regions: Sequence[str], spacing: Sequence[float]
) -> tuple[
    dict[str, list[float]],
    dict[str, float],
    dict[tuple[str, str], list[tuple[float, float]]],
    dict[str, float],
    list[float],
]:
    """Median extents (mm, RAS) and volumes (mm³) of the regions, how they lie in each other, and a scan's extent.

    The third has for two regions, the outer one first, which part of the inner one each scan has in the outer one's
    mask, and in its box; the fourth, which part of its largest part a part of a region has at least.
    """
    chosen: set[int] = set()
    for region in regions:
        having = [
            i for i, item in enumerate(items) if region in item["masks"] and not item["masks"][region].get("absent")
        ]
        if not having:
            raise UserError(f"region {region!r}: no training scan annotates it; annotate one, or leave the region out")
        # where another region is annotated too, relations show
        having.sort(key=lambda i: -len(items[i]["masks"]))
        chosen.update(having[:MOST_READ])
    extents: dict[str, list[Any]] = {region: [] for region in regions}
    volumes: dict[str, list[float]] = {region: [] for region in regions}
    telling: dict[tuple[str, str], list[tuple[float, float]]] = {}
    smallest: dict[str, list[float]] = {}
    scans = []
    for i in sorted(chosen):
        geometry = read_geometry(items[i]["image"])
        sides = np.linalg.norm(geometry.affine[:3, :3], axis=0)
        axes = [int(axis) for axis in closest_ras(geometry.affine)[:, 0]]
        in_ras = [axes.index(axis) for axis in range(3)]
        image = MetaTensor(torch.zeros(1).expand(1, *geometry.shape), affine=torch.from_numpy(geometry.affine))
        item: dict[Any, Any] = {**items[i], "image": image}
        loaded = LoadRegionMasksd(regions)(item)
        masks = {regions[int(k)]: m.numpy() for k, m in zip(loaded["annotated"], loaded["label"], strict=True)}
        places = {region: np.argwhere(mask == 1) for region, mask in masks.items() if (mask == 1).any()}
        for region, place in places.items():
            first, end = place.min(0), place.max(0) + 1
            extents[region].append(((end - first) * sides)[in_ras])
            volumes[region].append(float(len(place) * np.prod(sides)))
            if not (masks[region] == IGNORED).any():
                inside = masks[region][tuple(slice(a, b) for a, b in zip(first, end, strict=True))] == 1
                smallest.setdefault(region, []).append(_smallest_part(inside))
            step = np.maximum(1, np.array(spacing)[axes] / sides)
            low, high = with_margin(first, end, step)
            for inner, its in places.items():
                if inner != region:
                    in_mask = float((masks[region][tuple(its.T)] == 1).mean())
                    in_box = float(((its >= low) & (its < high)).all(1).mean())
                    telling.setdefault((region, inner), []).append((in_mask, in_box))
        scans.append((np.array(geometry.shape) * sides)[in_ras])
    for region in regions:
        if not extents[region]:
            raise UserError(f"region {region!r}: no voxel in the training scans that annotate it; run conemos check")
    return (
        {region: np.median(found, axis=0).tolist() for region, found in extents.items()},
        {region: float(np.median(found)) for region, found in volumes.items()},
        telling,
        {region: SMALLER_PART * float(np.quantile(ratios, RARE)) for region, ratios in smallest.items()},
        np.median(scans, axis=0).tolist(),
    )


def _smallest_part(inside: np.ndarray) -> float:
    """The size of the smallest connected part over that of the largest, of those that make 99% of a mask."""
    labels, _ = ndimage.label(inside, np.ones((3, 3, 3)))
    sizes = np.sort(np.bincount(labels.ravel())[1:])[::-1]
    held = sizes.cumsum()
    return float(sizes[np.searchsorted(held, NEARLY_ALL * held[-1])] / sizes[0])


def _within(
    telling: Mapping[tuple[str, str], list[tuple[float, float]]], volumes: Mapping[str, float]
) -> dict[str, str]:
    """For each region the smallest one that contains it, or whose box does, where there is one."""
    containing: dict[str, list[str]] = {}
    for (outer, inner), scans in telling.items():
        in_mask, in_box = (all(part >= 1 - TOLERANCE for part in parts) for parts in zip(*scans, strict=True))
        surely = (in_mask and len(scans) >= FEWEST) or (in_box and len(scans) >= FEWEST_BOXES)
        if surely and volumes[inner] <= SMALLER * volumes[outer]:
            containing.setdefault(inner, []).append(outer)
    return {inner: min(outer, key=lambda region: volumes[region]) for inner, outer in containing.items()}


def _patch(scale: Mapping[str, Any], scan: Sequence[float], spacing: Sequence[float], multiple: int = 8) -> list[int]:
    """A cube that holds the region at its own scale and what is around it; no larger than the scan."""
    voxel = [s * f for s, f in zip(spacing, scale["factor"], strict=True)]
    side = min(AROUND * max(e / v for e, v in zip(scale["extent_mm"], voxel, strict=True)), LARGEST)
    sides = [min(side, length / v) for length, v in zip(scan, voxel, strict=True)]
    return [max(SMALLEST, math.ceil(side / multiple) * multiple) for side in sides]


def _found_at(
    scale: Mapping[str, Any], scales: Mapping[str, Mapping[str, Any]], scan: Sequence[float], plan: Mapping[str, Any]
) -> list[int] | None:
    """The factor at which a region is found first: that of the region around it; in a whole scan, one that shows it."""
    own = scale["factor"]
    if scale.get("within") is not None:
        outer = scales.get(scale["within"], scale)["factor"]
        return list(outer) if all(a >= b for a, b in zip(outer, own, strict=True)) else None
    coarseness = 1
    while True:
        found = [max(a, b) for a, b in zip(factors(coarseness, plan["spacing"]), own, strict=True)]
        voxels = math.prod(length / (s * f) for length, s, f in zip(scan, plan["spacing"], found, strict=True))
        if voxels <= MOST_SEARCHED * LARGEST**3 or coarseness >= COARSEST:
            return None if found == list(own) else found
        coarseness *= 2
