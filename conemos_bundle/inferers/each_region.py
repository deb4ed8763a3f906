"""The regions of a scan, a few at a time: memory does not grow with how many are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from conemos_bundle.inferers.containment import with_ancestors
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.inferers.own_scale import Box, each_at_its_scale
from conemos_bundle.scales import Scales

VOXELS_AT_ONCE = 2**27  # of a scan, times regions, whose logits are in memory at once: 0.5 GB in float32


def outer_first(asked: Sequence[int], parents: Mapping[int, int]) -> list[int]:
    """The regions asked for and those that they lie inside of; right behind each one all that lies inside of it."""
    needed = with_ancestors(asked, parents)

    def within(region: int) -> list[int]:
        return [region, *(k for child in needed if parents.get(child) == region for k in within(child))]

    return [k for region in needed if region not in parents for k in within(region)]


def each_inside(
    found: Iterable[tuple[int, torch.Tensor]], needed: Sequence[int], parents: Mapping[int, int]
) -> Iterator[tuple[int, torch.Tensor]]:
    """`keep_inside`, of logits that come one region at a time.

    A region is given as soon as those that it lies inside of have come. Logits are released when the next ones are
    asked for, but for those that others to come lie inside of.

    Args:
        found: each of the regions, and its logits ``(D, H, W)``.
        needed: all of them, all ancestors among them.
        parents: region to the one it lies inside of.
    """
    waiting: dict[int, torch.Tensor] = {}  # their parents are still to come
    outer: dict[int, torch.Tensor] = {}  # as they were given
    given: set[int] = set()
    for region, logits in found:
        waiting[region] = logits
        del logits
        ready = True
        while ready:
            ready = False
            for k in [k for k in waiting if parents.get(k) is None or parents[k] in outer]:
                ready = True
                logits = waiting.pop(k)
                if k in parents:
                    logits = torch.minimum(logits, outer[parents[k]])
                given.add(k)
                to_come = {parents[other] for other in needed if other in parents and other not in given}
                outer = {one: kept for one, kept in outer.items() if one in to_come}
                if k in to_come:
                    outer[k] = logits
                channel = [logits]
                del logits
                yield k, channel.pop()  # nothing here holds it while it is used


def infer_each(
    inferer: Callable[..., torch.Tensor],
    image: torch.Tensor,
    network: EncodeOnce,
    asked: Mapping[int, str],
    parents: Mapping[int, int],
    voxels_at_once: int = VOXELS_AT_ONCE,
    scales: Scales | None = None,
    missed: dict[int, int] | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Logits of regions one after the other, the outer ones first: those of `infer` of all regions together.

    Regions that were added to a network come behind its own.

    The windows of a scan that is so large that not all regions' logits fit are gone through more than once; those whose
    features do not fit either are encoded as often. Logits of a region are released when the next one is asked for, but
    for the few that the next ones lie inside of.

    Args:
        inferer: `infer`, partially applied.
        image: ``(1, C, D, H, W)``.
        network: of which `EncodeOnce.forget` has been called if it has seen another scan.
        asked: indices of the regions, and their names, for a bar.
        parents: as for `infer`.
        voxels_at_once: of the image, times regions, whose logits are in memory at once; one region at least.
        scales: as for `infer`.
        missed: gets each region that was looked for in the whole scan since the one that it should lie within was not
            found, and which that is.

    Yields:
        the index of a region asked for, and its logits ``(D, H, W)``.
    """
    order = outer_first(list(asked), parents)
    old = getattr(network.network, "old", None)
    if old is not None:  # which old ones are decoded together, and so their last bits, hangs on no added one
        order.sort(key=lambda region: region >= old)
    if scales is None:
        at_once = max(1, voxels_at_once // image[0, 0].numel())
        found = _some_at_once(inferer, image, network, asked, order, at_once)
    else:
        found = _at_own_scales(inferer, image, network, asked, order, scales, {} if missed is None else missed)
    for region, logits in each_inside(found, order, parents):
        channel = [logits]
        del logits
        if region in asked:
            yield region, channel.pop()


def _some_at_once(
    inferer: Callable[..., torch.Tensor],
    image: torch.Tensor,
    network: EncodeOnce,
    asked: Mapping[int, str],
    order: Sequence[int],
    at_once: int,
) -> Iterator[tuple[int, torch.Tensor]]:
    for start in range(0, len(order), at_once):
        some = order[start : start + at_once]
        network.begin()
        named = [asked[region] for region in some if region in asked]
        bar = ", ".join(named) if 1 <= len(named) <= 3 else f"{len(some)} regions"
        indices = torch.tensor(some, device=image.device)
        logits = list(inferer(image, network, regions=indices, parents=None, progress=bar)[0])
        for region in some:
            channel = [logits.pop(0)]
            yield region, channel.pop()


def _at_own_scales(
    inferer: Callable[..., torch.Tensor],
    image: torch.Tensor,
    network: EncodeOnce,
    asked: Mapping[int, str],
    order: Sequence[int],
    scales: Scales,
    missed: dict[int, int],
) -> Iterator[tuple[int, torch.Tensor]]:
    def look(part: torch.Tensor, codes: list[int], known_by: tuple[int, Box]) -> torch.Tensor:
        network.begin(known_by)
        bar = ", ".join(asked.get(code % len(scales.level), "…") for code in codes[:3])
        indices = torch.tensor(codes, device=part.device)
        window = scales.patch_sizes[known_by[0]]
        return inferer(part, network, regions=indices, window=window, parents=None, scales=None, progress=bar)

    for found in each_at_its_scale(image, order, scales, look):
        if found.missed is not None:
            missed[found.region] = found.missed
        if found.region in order:
            yield found.region, found.logits
