"""Inference of each region at its own voxel spacing, looked for inside the region that contains it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from conemos_bundle.inferers.containment import with_ancestors
from conemos_bundle.inferers.windows import OUTSIDE
from conemos_bundle.scales import Scales, with_margin
from conemos_bundle.transforms.own_scale import pool
from scipy import ndimage

logger = logging.getLogger(__name__)
SPECK = 0.3  # of a region's largest part: what is smaller does not widen its box, where the plan does not say
NEAR = 2  # voxels, of those it was found at, that a region may reach beyond
_MOST_SURE = 16.0  # a logit: float32 has no probability closer to 1

Box = tuple[tuple[int, int, int], tuple[int, int, int]]  # first voxel and end, of the scan as it was prepared
Look = Callable[[torch.Tensor, list[int], tuple[int, Box]], torch.Tensor]


class Found(NamedTuple):
    """One region: its logits ``(D, H, W)`` on the grid of the whole scan, and the box that it was looked for in."""

    region: int
    logits: torch.Tensor
    box: Box
    missed: int | None  # the region within which it should have been looked for, if that one was not found


def each_at_its_scale(image: torch.Tensor, asked: Sequence[int], scales: Scales, look: Look) -> Iterator[Found]:
    """The regions asked for and those within which they are looked for, outer ones first.

    Regions of one spacing that are looked for in one box are asked for together: it is encoded once for them. What is
    found first is looked at again in its own box; found at a coarser spacing, it stays near to where it was found.
    Parts of it that are smaller than any in training scans are dropped.

    Args:
        image: ``(1, C, D, H, W)``.
        asked: indices of regions.
        scales: of all K regions.
        look: called with a part of the image at a scale, ``(1, C, d, h, w)``, no smaller than the patches of training;
            the indices ``k + K * level`` to ask for there; and what that part is known by, its level and box. Gives
            logits ``(1, R, d, h, w)``.
    """
    places = _Places(image, scales, look)
    boxes: dict[int, Box | None] = {}  # that the regions were found in; None: not found
    pending = with_ancestors(asked, scales.within)
    while pending:
        now = [k for k in pending if scales.within.get(k) is None or scales.within[k] in boxes]
        searched = {k: boxes.get(scales.within.get(k, k)) or places.whole for k in now}
        refined, near = dict(searched), {}
        coarse = {k: level for k in now if (level := scales.found_at[k]) is not None}
        for group in _groups(coarse, coarse, searched):
            for k, logits, box in places.ask(group, coarse[group[0]], searched[group[0]]):
                parts = without_specks(logits, scales.speck[k], scales.factors[coarse[k]], box)
                if parts is not None:
                    refined[k] = parts.box
                if parts is not None and coarse[k] != scales.level[k]:
                    near[k] = parts.inside, coarse[k], box
        for group in _groups(now, dict(enumerate(scales.level)), refined):
            level = scales.level[group[0]]
            for k, logits, box in places.ask(group, level, refined[group[0]]):
                outer = scales.within.get(k)
                missed = outer if outer is not None and boxes[outer] is None else None
                if missed is not None:
                    logger.info(f"region {k}: looked for in the whole scan, since region {missed} was not found in it")
                on_scan = places.on_scan(logits, level, box)
                if k in near:
                    on_scan = places.keep_near(on_scan, *near.pop(k))
                parts = without_specks(on_scan, scales.speck[k], (1, 1, 1), places.whole)
                boxes[k] = None if parts is None else parts.box
                if parts is not None:
                    on_scan[(on_scan > 0) & ~parts.inside] = OUTSIDE
                yield Found(k, on_scan, box, missed)
        pending = [k for k in pending if k not in now]


class Parts(NamedTuple):
    """What of a region is kept, ``(d, h, w)``, and the box of all but specks."""

    inside: torch.Tensor
    box: Box


def without_specks(logits: torch.Tensor, speck: float | None, factor: Sequence[int], box: Box) -> Parts | None:
    """The connected parts of a region that are large enough; None where it is not there.

    Args:
        logits: ``(d, h, w)``, of a part of a scan.
        speck: parts with less than this of the largest one are dropped; None: all are kept.
        factor: voxels of the scan per voxel of it.
        box: of that part of the scan.
    """
    labels, number = ndimage.label((logits > 0).cpu().numpy(), np.ones((3, 3, 3)))
    if not number:
        return None
    sizes = np.bincount(labels.ravel(), minlength=number + 1)
    sizes[0] = 0
    large = sizes >= (SPECK if speck is None else speck) * sizes.max()
    large[0] = False
    places = [place for place, is_large in zip(ndimage.find_objects(labels), large[1:], strict=True) if is_large]
    ends = [(min(p[axis].start for p in places), max(p[axis].stop for p in places)) for axis in range(3)]
    first = tuple(origin + a * side for origin, (a, _), side in zip(box[0], ends, factor, strict=True))
    end = tuple(origin + b * side for origin, (_, b), side in zip(box[0], ends, factor, strict=True))
    inside = logits > 0 if speck is None else torch.from_numpy(large[labels]).to(logits.device)
    return Parts(inside, (first, end))  # type: ignore[arg-type]


def _groups(
    regions: Sequence[int] | Mapping[int, int], level: Mapping[int, int], boxes: Mapping[int, Box]
) -> list[list[int]]:
    """The regions of each level and box."""
    groups: dict[tuple[int, Box], list[int]] = {}
    for k in regions:
        groups.setdefault((level[k], boxes[k]), []).append(k)
    return list(groups.values())


class _Places:
    """Parts of one scan at the scales of regions."""

    def __init__(self, image: torch.Tensor, scales: Scales, look: Look) -> None:
        self.image, self.scales, self.look = image, scales, look
        self.shape = tuple(image.shape[2:])
        self.whole: Box = (0, 0, 0), self.shape  # type: ignore[assignment]
        self._pooled: dict[int, torch.Tensor] = {}

    def ask(self, regions: Sequence[int], level: int, box: Box) -> list[tuple[int, torch.Tensor, Box]]:
        """Logits ``(d, h, w)`` of regions around a box, and what part of the scan they are of."""
        factor = self.scales.factors[level]
        if level not in self._pooled:
            self._pooled[level] = pool(self.image[0], factor)[None]
        pooled = self._pooled[level]
        first, end = (box[0], box[1]) if box == self.whole else with_margin(*box, factor)
        starts, stops = [], []
        for a, b, side, wanted, length in zip(
            first, end, factor, self.scales.patch_sizes[level], pooled.shape[2:], strict=True
        ):
            start, stop = max(0, math.floor(a / side)), min(length, math.ceil(b / side))
            missing = max(0, min(wanted, length) - (stop - start))  # what the network knows is a window of tissue
            start = min(max(0, start - missing // 2), length - (stop - start) - missing)
            starts.append(start)
            stops.append(max(stop, start + min(wanted, length)))
        part = (slice(None), *(slice(a, b) for a, b in zip(starts, stops, strict=True)))
        of_scan: Box = (  # type: ignore[assignment]
            tuple(a * side for a, side in zip(starts, factor, strict=True)),
            tuple(min(b * side, n) for b, side, n in zip(stops, factor, self.shape, strict=True)),
        )
        number = len(self.scales.level)
        codes = [k + number * level for k in regions]
        logits = self.look(pooled[0][part][None], codes, (level, of_scan))
        return [(k, channel, of_scan) for k, channel in zip(regions, logits[0], strict=True)]

    def on_scan(self, logits: torch.Tensor, level: int, box: Box) -> torch.Tensor:
        """Logits ``(d, h, w)`` of a part of the scan on its whole grid; probabilities are interpolated, not logits."""
        factor = self.scales.factors[level]
        if any(side > 1 for side in factor):
            probabilities = logits.sigmoid()[None, None]
            fine = F.interpolate(probabilities, scale_factor=[float(f) for f in factor], mode="trilinear")[0, 0]
            logits = fine.logit().clamp(OUTSIDE, _MOST_SURE)
        volume = logits.new_full(self.shape, OUTSIDE)
        size = [b - a for a, b in zip(*box, strict=True)]
        volume[tuple(slice(a, b) for a, b in zip(*box, strict=True))] = logits[tuple(slice(0, n) for n in size)]
        return volume

    def keep_near(self, logits: torch.Tensor, found: torch.Tensor, level: int, box: Box) -> torch.Tensor:
        """Logits ``(D, H, W)`` of a region, `OUTSIDE` but near to where it was found ``(d, h, w)``, coarsely."""
        wide = F.max_pool3d(found[None, None].float(), 2 * NEAR + 1, 1, NEAR)
        near = F.interpolate(wide, scale_factor=[float(f) for f in self.scales.factors[level]], mode="nearest")[0, 0]
        kept = torch.full_like(logits, OUTSIDE)
        part = tuple(slice(a, b) for a, b in zip(*box, strict=True))
        size = tuple(slice(0, b - a) for a, b in zip(*box, strict=True))
        kept[part] = torch.where(near[size] > 0, logits[part], kept[part])
        return kept
