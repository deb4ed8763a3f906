"""The γ and β of a region, averaged over the sites that annotate it: they are what is a region's own in CoNeMOS."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from conemos_bundle.hosts.federated.averaging import Contribution, site_shares
from conemos_bundle.networks.film import FiLM
from conemos_bundle.networks.film_unet import FiLMUNet


@torch.no_grad()
def keep_films(
    network: FiLMUNet, averaged: Mapping[str, torch.Tensor], contributions: Mapping[str, Contribution]
) -> dict[str, torch.Tensor]:
    """The averaged weights, changed as little as can be so that each region has the γ and β that its sites gave it.

    All regions share the layers that make γ and β of their codes, and a site that lacks a region moves its γ and β
    unseen. What they shall be is the mean over the sites that annotate the region, by masks. A FiLM layer is linear in
    the embedding and there are fewer regions than embedding units, so the change of least norm is a least-squares
    solution.

    Args:
        network: of the weights; is left with other ones.
        averaged: what `average` gave.
        contributions: by site, what it was given.

    Returns:
        the weights; those of regions that no site has learned give what ``averaged`` gives.
    """
    shares = site_shares(contributions)
    learned = torch.tensor([sum(own) for own in zip(*(own for own, _ in shares.values()), strict=True)]) > 0.5
    names = [name for name, module in network.named_modules() if isinstance(module, FiLM)]
    wanted = {name: torch.zeros(()) for name in names}
    for site in sorted(contributions):
        share = torch.tensor(shares[site][0], dtype=torch.float64)[:, None]
        given = _films(network, contributions[site].weights)
        wanted = {name: wanted[name] + share * given[name] for name in names}
    now = _films(network, averaged)
    embedded = _embedded(network)
    inverse = torch.linalg.pinv(torch.cat([embedded, torch.ones(len(embedded), 1)], 1).double(), rtol=1e-3)
    changed = dict(averaged)
    for name in names:
        missing = torch.where(learned[:, None], wanted[name] - now[name], 0.0)  # (K, 2C)
        change = (inverse @ missing).T  # (2C, E + 1)
        for key, part in ((f"{name}.projection.weight", change[:, :-1]), (f"{name}.projection.bias", change[:, -1])):
            changed[key] = (averaged[key].double() + part).to(averaged[key].dtype)
    return changed


def _embedded(network: FiLMUNet) -> torch.Tensor:
    """The embedding of each region, (K, E)."""
    codes: torch.Tensor = network.codes  # type: ignore[assignment]
    return network.embedding(codes)


def _films(network: FiLMUNet, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """γ and β of each FiLM layer with these weights, (K, 2C) in float64."""
    network.load_state_dict(dict(weights))
    embedded = _embedded(network)
    films = {name: module for name, module in network.named_modules() if isinstance(module, FiLM)}
    return {name: film.projection(embedded).double() for name, film in films.items()}
