"""Declared containment: regions that lie inside others never leave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from conemos_bundle.errors import UsageError
from conemos_bundle.names import check_inside


def parent_indices(inside: Mapping[str, str], regions: Sequence[str]) -> dict[int, int]:
    """``{"brain": "body"}`` as ``{2: 1}``: indices of regions and of those that they lie inside of.

    A step of a configuration too, so that what is wrong is said before any work.

    Raises:
        UsageError: no such dictionary, a region that is not among ``regions``, or one that lies inside itself.
    """
    is_declared = isinstance(inside, Mapping)
    if not is_declared or not all(isinstance(region, str) for region in (*inside, *inside.values())):
        raise UsageError(f"--inside {str(inside)[:60]}: give regions and what they lie inside of: {{'brain':'head'}}")
    try:
        check_inside(inside, regions)
    except ValueError as error:
        told = str(error).removeprefix("'inside' ")
        raise UsageError(f"--inside: {told}; the regions are {', '.join(regions)}") from error
    index = {region: k for k, region in enumerate(regions)}
    return {index[inner]: index[outer] for inner, outer in inside.items()}


def with_ancestors(asked: Sequence[int], parents: Mapping[int, int]) -> list[int]:
    """The regions asked for, and after them those that they lie inside of, directly or not, each once."""
    needed = list(asked)
    for region in asked:
        while region in parents:
            region = parents[region]
            if region not in needed:
                needed.append(region)
    return needed


def keep_inside(logits: torch.Tensor, needed: Sequence[int], parents: Mapping[int, int]) -> torch.Tensor:
    """The least logit of a region and of those it lies inside of: whatever the threshold, no mask leaves its parent's.

    Interpolation with weights that are not negative keeps it so on any other grid.

    Args:
        logits: ``(B, R, D, H, W)``.
        needed: the R regions, all ancestors among them.
        parents: region to the one it lies inside of.

    Returns:
        ``(B, R, D, H, W)``.
    """
    place = {region: channel for channel, region in enumerate(needed)}
    channels = []
    for region in needed:
        channel, outer = logits[:, place[region]], region
        while outer in parents:
            outer = parents[outer]
            channel = torch.minimum(channel, logits[:, place[outer]])
        channels.append(channel)
    return torch.stack(channels, 1)
