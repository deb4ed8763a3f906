"""γ and β of each region after averaging: those of the sites that annotate it."""

from __future__ import annotations

import pytest
import torch
from conemos_bundle.hosts.federated.averaging import Contribution, average
from conemos_bundle.hosts.federated.film import keep_films
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.networks.film import FiLM
from conemos_bundle.networks.region_order import region_owners

OPTIONS = [{}, {"mlp_depth": 0}]


def make(seed: int, **options: int) -> FiLMUNet:
    torch.manual_seed(seed)
    network = FiLMUNet(num_regions=3, channels=(2, 4), norm="instance", n_conditioned=3, **options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return network


def films(network: FiLMUNet, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """γ and β of all layers, (K, …)."""
    network.load_state_dict(weights)
    modules = [module for module in network.modules() if isinstance(module, FiLM)]
    with torch.no_grad():
        return torch.cat([module.projection(network.embedding(network.codes)) for module in modules], 1)


def sites(masks: dict[str, list[int]], **options: int) -> dict[str, Contribution]:
    return {
        site: Contribution(make(seed, **options).state_dict(), 10, m) for seed, (site, m) in enumerate(masks.items())
    }


@pytest.mark.parametrize("options", OPTIONS)
def test_each_region_has_the_mean_of_its_sites(options: dict[str, int]) -> None:
    network, given = make(9, **options), sites({"a": [6, 0, 1], "b": [2, 0, 0], "c": [0, 0, 3]}, **options)
    before = {name: w.clone() for name, w in network.state_dict().items()}
    averaged = average(before, given, region_owners(network, before))
    found = films(network, keep_films(network, averaged, given))
    of = {site: films(network, dict(each.weights)) for site, each in given.items()}
    torch.testing.assert_close(found[0], (6 * of["a"][0] + 2 * of["b"][0]) / 8, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[2], (of["a"][2] + 3 * of["c"][2]) / 4, atol=1e-4, rtol=1e-4)
    plain = films(network, averaged)
    torch.testing.assert_close(found[1], plain[1], atol=1e-4, rtol=1e-4)  # nobody has it
    assert (plain[0] - found[0]).abs().max() > 0.05


def test_only_films_change_and_one_site_is_the_identity() -> None:
    network, given = make(9), sites({"a": [6, 1, 1], "b": [2, 1, 0]})
    averaged = average(network.state_dict(), given, region_owners(network, network.state_dict()))
    changed = keep_films(network, averaged, given)
    assert {name for name in averaged if not torch.equal(averaged[name], changed[name])} == {
        name for name in averaged if ".projection." in name
    }
    one = {"a": given["a"]}
    same = keep_films(network, average(averaged, one, {}), one)
    assert all(torch.equal(same[name], weight) for name, weight in given["a"].weights.items())


def test_the_order_of_sites_does_not_matter_to_the_bit() -> None:
    network, given = make(9), sites({"a": [6, 1, 1], "b": [2, 1, 0], "c": [1, 5, 1]})
    averaged = average(network.state_dict(), given, {})
    one, other = (keep_films(network, averaged, {site: given[site] for site in order}) for order in ("abc", "cab"))
    assert all(torch.equal(one[name], other[name]) for name in one)
