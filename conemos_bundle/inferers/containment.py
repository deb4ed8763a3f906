"""Declared containment: regions that lie inside others never leave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch


def parent_indices(inside: Mapping[str, str], regions: Sequence[str]) -> dict[int, int]:
    """``{"brain": "body"}`` as ``{2: 1}``: indices of regions and of those that they lie inside of.

    Raises:
        KeyError: a region that is not among ``regions``.
    """
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
