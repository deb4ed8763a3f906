"""Where and how finely training looks for a region in a scan that annotates only some of what contains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from conemos_bundle.scales import Scales, with_margin
from conemos_bundle.utils.known import IGNORED

Box = npt.NDArray[np.float64]  # 2×3: first voxel and end

MISTAKEN = 0.25  # how often what was found coarsely may be anywhere that the region is looked for
WRONG = 0.1  # how far the sides of a predicted box are from the true ones, at most, as part of its length


class ScanBoxes(NamedTuple):
    """What the masks of a scan show."""

    boxes: dict[int, Box]  # of the regions that are there
    partly_known: bool  # whether some voxel is ignored


def scan_boxes(label: torch.Tensor, annotated: Sequence[int]) -> ScanBoxes:
    """The bounding boxes of the regions of a scan.

    Args:
        label: masks ``(n, D, H, W)`` of 0, 1 and `IGNORED`.
        annotated: the n regions.
    """
    boxes = {}
    for mask, region in zip(label, annotated, strict=True):
        inside = mask == 1
        if bool(inside.any()):
            along = [inside.any(dim=b).any(dim=a).nonzero().flatten() for a, b in ((1, 2), (0, 2), (0, 1))]
            boxes[region] = np.array([[int(i[0]) for i in along], [int(i[-1]) + 1 for i in along]], float)
    return ScanBoxes(boxes, bool((label == IGNORED).any()))


def draw_box(
    region: int,
    level: int,
    boxes: Mapping[int, Box],
    shape: Sequence[int],
    spacing: Sequence[float],
    scales: Scales,
    random: np.random.Generator,
) -> Box:
    """The box that a region is looked for in, as wrong as a predicted one may be.

    It is that of the region within which it is looked for. Where that one is not annotated, its box has the usual size
    and holds the region somewhere. A region that was found coarsely is mostly looked for in its own box: what is found
    coarsely may also be something else. Else it is the scan.

    Args:
        region: the one drawn.
        level: at which it is asked for.
        boxes: of the regions annotated in the scan.
        shape: of the scan, voxels.
        spacing: of its voxels, mm.
        scales: of all regions.
        random: draws.
    """
    whole = np.array([[0.0, 0.0, 0.0], list(shape)])
    refined = scales.found_at[region] is not None and level == scales.level[region] and random.random() >= MISTAKEN
    outer = scales.within.get(region, region)  # itself: in the whole scan
    if refined and region in boxes:
        box = boxes[region]
    elif outer != region and outer in boxes:
        box = boxes[outer]
    elif outer != region and region in boxes:
        first, end = boxes[region]
        room = np.maximum(np.array(scales.extent_mm[outer]) / np.asarray(spacing) - (end - first), 0)
        first = first - random.random(3) * room
        box = np.stack([first, first + room + (end - boxes[region][0])])
    else:
        return whole
    moved = box + random.uniform(-WRONG, WRONG, (2, 3)) * (box[1] - box[0])
    first, end = np.array(with_margin(moved[0], moved[1], scales.factors[level]))
    return np.stack([np.clip(first, 0, whole[1] - 1), np.clip(end, 1, whole[1])])
