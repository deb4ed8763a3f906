"""The regions of a scan, a few at a time: memory does not grow with how many are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from conemos_bundle.inferers.containment import with_ancestors
from conemos_bundle.inferers.encode_once import EncodeOnce

VOXELS_AT_ONCE = 2**27  # of a scan, times regions, whose logits are in memory at once: 0.5 GB in float32


def outer_first(asked: Sequence[int], parents: Mapping[int, int]) -> list[int]:
    """The regions asked for and those that they lie inside of; right behind each one all that lies inside of it."""
    needed = with_ancestors(asked, parents)

    def within(region: int) -> list[int]:
        return [region, *(k for child in needed if parents.get(child) == region for k in within(child))]

    return [k for region in needed if region not in parents for k in within(region)]


def infer_each(
    inferer: Callable[..., torch.Tensor],
    image: torch.Tensor,
    network: EncodeOnce,
    asked: Mapping[int, str],
    parents: Mapping[int, int],
    voxels_at_once: int = VOXELS_AT_ONCE,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Logits of regions one after the other, the outer ones first: those of `infer` of all regions together.

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

    Yields:
        the index of a region asked for, and its logits ``(D, H, W)``.
    """
    order = outer_first(list(asked), parents)
    at_once = max(1, voxels_at_once // image[0, 0].numel())
    outer: dict[int, torch.Tensor] = {}  # logits of regions that others to come lie inside of
    for start in range(0, len(order), at_once):
        some = order[start : start + at_once]
        network.begin()
        named = [asked[region] for region in some if region in asked]
        bar = ", ".join(named) if 1 <= len(named) <= 3 else f"{len(some)} regions"
        indices = torch.tensor(some, device=image.device)
        logits = list(inferer(image, network, regions=indices, parents=None, progress=bar)[0])
        for place, region in enumerate(some):
            if region in parents:
                logits[0] = torch.minimum(logits[0], outer[parents[region]])
            to_come = {parents[other] for other in order[start + place + 1 :] if other in parents}
            if region in to_come:
                outer[region] = logits[0]
            outer = {region: kept for region, kept in outer.items() if region in to_come}
            channel = logits[:1]
            del logits[0]
            if region in asked:
                yield region, channel.pop()  # nothing here holds it while it is used
