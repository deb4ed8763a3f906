from __future__ import annotations

from typing import Any

import pytest
import torch
from conemos_bundle.networks import NETWORKS, FiLMUNet, GrownUNet
from conemos_bundle.networks.region_order import keep_regions, region_owners, reorder_regions

CASES: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in NETWORKS]
CASES += [("FiLMUNet", {"mlp_depth": 0}), ("FiLMUNet", {"n_conditioned": 2}), ("MultiLayer", {"last_relu": False})]
SPACINGS = [[1.0, 1.0, 2.0], [2.0, 2.0, 2.0]]
CASES += [(name, {"spacings": SPACINGS}) for name in ("FiLMUNet", "IndividualNetworks")]


def make(name: str, seed: int, options: dict[str, Any]) -> torch.nn.Module:
    torch.manual_seed(seed)
    network = NETWORKS[name](num_regions=3, channels=(2, 4), norm="instance", **options)
    for parameter in network.parameters():  # biases too, which begin at 0
        torch.nn.init.normal_(parameter, std=0.5)
    return network.eval()


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("order", [[2, 0, 1], [0, 2, 1], [0, 1, 2]])
def test_each_region_keeps_its_answer_in_another_place(name: str, options: dict[str, Any], order: list[int]) -> None:
    old, new = make(name, 0, options), make(name, 1, options)
    image = torch.randn(2, 1, 9, 8, 8)
    new.load_state_dict(reorder_regions(new, old.state_dict(), order))
    with torch.no_grad():
        before, after = old(image), new(image)
        torch.testing.assert_close(after, before[:, order], rtol=1e-3, atol=1e-3)
        assert min(float((before[:, a] - before[:, b]).abs().max()) for a, b in ((0, 1), (0, 2), (1, 2))) > 0.05
        second = torch.tensor([1])
        torch.testing.assert_close(new(image, regions=second), before[:, [order[1]]], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"mlp_depth": 0}])
def test_spacings_stay_what_they_are(options: dict[str, Any]) -> None:
    old, new = (make("FiLMUNet", seed, {"spacings": SPACINGS, **options}) for seed in (0, 1))
    image, order = torch.randn(1, 1, 9, 8, 8), [2, 0, 1]
    new.load_state_dict(reorder_regions(new, old.state_dict(), order))
    with torch.no_grad():
        before, after = (network(image, torch.arange(6)) for network in (old, new))
    torch.testing.assert_close(after, before[:, [*order, *(3 + k for k in order)]], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(before[:, :3], before[:, 3:], atol=0.05)


def test_another_network_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="Linear: not known where its regions are"):
        reorder_regions(torch.nn.Linear(2, 2), {}, [1, 0])


def test_regions_that_were_added_keep_their_places() -> None:
    grown = GrownUNet(num_regions=3, added=1, channels=(2, 4))
    state = grown.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in reorder_regions(grown, state, [0, 1, 2]).items())
    with pytest.raises(ValueError, match="GrownUNet: not known where its regions are"):
        reorder_regions(grown, state, [2, 1, 0])


@pytest.mark.parametrize("options", [{}, {"mlp_depth": 0}])
def test_those_that_are_kept_are_computed_as_before(options: dict[str, Any]) -> None:
    network = make("FiLMUNet", 0, options)
    assert isinstance(network, FiLMUNet)
    image = torch.randn(1, 1, 9, 8, 8)
    fewer = keep_regions(network, [2, 0])
    with torch.no_grad():
        for place, region in enumerate([2, 0]):
            assert torch.equal(fewer(image, torch.tensor([place])), network(image, torch.tensor([region])))


@pytest.mark.parametrize("name", NETWORKS)
def test_one_region_has_one_order(name: str) -> None:
    network = NETWORKS[name](num_regions=1, channels=(2, 4))
    moved = reorder_regions(network, network.state_dict(), [0])
    assert all(torch.equal(moved[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(("name", "options"), CASES)
def test_what_a_region_owns_is_what_no_other_region_learns(name: str, options: dict[str, Any]) -> None:
    network = make(name, 0, options)
    owners = region_owners(network, network.state_dict())
    gradients = []
    for k in range(3):
        network.zero_grad()
        network(torch.randn(2, 1, 9, 8, 8), torch.tensor([k])).square().sum().backward()
        gradients.append({key: p.grad for key, p in network.named_parameters() if p.grad is not None})
    learned_by_its_owner = set()
    for key, parameter in network.named_parameters():
        of = owners.get(key, torch.tensor(-1)).expand_as(parameter)
        learned = torch.stack([each.get(key, torch.zeros_like(parameter)) != 0 for each in gradients])
        for k in range(3):
            assert not learned[:, of == k][[j for j in range(3) if j != k]].any(), key
            learned_by_its_owner |= {k} if learned[k][of == k].any() else set()
        assert int(learned[:, of == -1].any(1).sum()) in (0, 3), key  # where one learns, all do: it is shared
    assert learned_by_its_owner == {0, 1, 2}


def test_owners_of_another_network_are_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="Linear: not known where its regions are"):
        region_owners(torch.nn.Linear(2, 2), {})
