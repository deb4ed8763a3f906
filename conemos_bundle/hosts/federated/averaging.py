"""The average of the sites' weights: shared ones over all sites, a region's own over those that annotate it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch


class Contribution(NamedTuple):
    """What a site trained: its weights (a flat state_dict), its steps, and the masks of each region (K) in them."""

    weights: Mapping[str, torch.Tensor]
    steps: int
    masks: Sequence[int]


def site_shares(
    contributions: Mapping[str, Contribution], region_wise: bool = True
) -> dict[str, tuple[list[float], float]]:
    """How much each site counts.

    Args:
        contributions: by site; all of one number of regions.
        region_wise: False: for each region as much as for what is shared.

    Returns:
        by site, its share of each region's own weights (K) and that of the shared ones. Those of all sites add up to 1;
        to 0 where no site has learned it.

    Example::

        >>> site_shares({"a": Contribution({}, 30, [8, 0]), "b": Contribution({}, 10, [2, 0])})
        {'a': ([0.8, 0.0], 0.75), 'b': ([0.2, 0.0], 0.25)}
    """
    steps = sum(each.steps for each in contributions.values())
    masks = [sum(of_region) for of_region in zip(*(each.masks for each in contributions.values()), strict=True)]
    shares = {}
    for site, each in contributions.items():
        shared = each.steps / steps if steps else 0.0
        own = [count / all_of_it if all_of_it else 0.0 for count, all_of_it in zip(each.masks, masks, strict=True)]
        shares[site] = (own if region_wise else [shared] * len(own), shared)
    return shares


def average(
    before: Mapping[str, torch.Tensor],
    contributions: Mapping[str, Contribution],
    owners: Mapping[str, torch.Tensor],
    region_wise: bool = True,
) -> dict[str, torch.Tensor]:
    """The weights of the next round, whatever the order of the sites; summed in float64.

    Args:
        before: what the sites began with; stays where no site has learned anything.
        contributions: by site.
        owners: which weights belong to one region, see `region_owners`.
        region_wise: False: every weight over all sites, by steps.
    """
    shares = site_shares(contributions, region_wise)
    sites = sorted(contributions)
    averaged = {}
    for name, start in before.items():
        owner = owners.get(name, torch.tensor(-1))  # -1, shared, is the last of a table
        total = torch.zeros(start.shape, dtype=torch.float64)
        left = torch.ones(owner.shape, dtype=torch.float64)
        for site in sites:
            own, shared = shares[site]
            share = torch.tensor([*own, shared], dtype=torch.float64)[owner]
            total += share * contributions[site].weights[name].double()
            left -= share
        unlearned = left > 0.5  # 1 but for rounding: no site has it
        total = torch.where(unlearned, start.double(), total)
        averaged[name] = (total if start.is_floating_point() else total.round()).to(start.dtype)
    return averaged


def mean_over_sites(dice: Mapping[str, Sequence[float]]) -> list[float]:
    """The Dice of each region (K): the mean over the sites that have it; NaN where none has.

    Args:
        dice: by site, of each region (K), NaN where it has no validation scan with that region.
    """
    of_sites = torch.tensor([list(dice[site]) for site in sorted(dice)], dtype=torch.float64)
    return of_sites.nanmean(0).tolist()
