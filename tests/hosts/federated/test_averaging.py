"""Averaging on arrays whose answer is known by hand."""

from __future__ import annotations

import math

import pytest
import torch
from conemos_bundle.hosts.federated.averaging import Contribution, average, mean_over_sites, site_shares

# two regions own the columns of "code", region 1 owns all of "head"; the last column of "code" and "body" are shared
OWNERS = {"code": torch.tensor([[0, 1, -1]]), "head": torch.tensor(1)}


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"code": torch.full((4, 3), value), "head": torch.full((2,), value), "body": torch.full((3,), value)}


A, B, C = (
    Contribution(weights(1), 30, [6, 0]),
    Contribution(weights(5), 10, [2, 4]),
    Contribution(weights(9), 0, [0, 4]),
)


def test_shared_weights_by_steps_and_those_of_a_region_by_its_masks() -> None:
    found = average(weights(0), {"a": A, "b": B, "c": C}, OWNERS)
    assert found["body"].tolist() == [2, 2, 2]  # (30 · 1 + 10 · 5) / 40
    assert found["code"].tolist() == [[2, 7, 2]] * 4  # (6 · 1 + 2 · 5) / 8; (4 · 5 + 4 · 9) / 8; as body
    assert found["head"].tolist() == [7, 7]


def test_a_site_without_a_region_leaves_its_weights_alone() -> None:
    wild = Contribution({**weights(1), "head": torch.full((2,), 1e9)}, 30, [6, 0])
    found = average(weights(0), {"a": wild, "b": B}, OWNERS)
    assert found["head"].tolist() == [5, 5]
    assert average(weights(0), {"a": wild, "b": B}, OWNERS, region_wise=False)["head"][0] == 0.75 * 1e9 + 1.25


def test_what_no_site_has_learned_stays_as_it_was() -> None:
    found = average(weights(3), {"a": A}, OWNERS)
    assert found["code"].tolist() == [[1, 3, 1]] * 4 and found["head"].tolist() == [3, 3]
    assert average(weights(3), {"c": Contribution(weights(9), 0, [0, 0])}, OWNERS)["body"].tolist() == [3, 3, 3]


def test_one_site_is_the_identity_bit_for_bit_and_types_stay() -> None:
    torch.manual_seed(0)
    one = {"code": torch.randn(4, 3), "head": torch.randn(2).half(), "body": torch.randint(9, (3,))}
    found = average({name: torch.zeros_like(w) for name, w in one.items()}, {"a": Contribution(one, 7, [1, 2])}, OWNERS)
    assert all(torch.equal(found[name], w) and found[name].dtype == w.dtype for name, w in one.items())


def test_the_order_of_sites_does_not_matter_to_the_bit() -> None:
    torch.manual_seed(1)
    sites = {
        name: Contribution({"body": torch.randn(500).double()}, steps, [1, 2])
        for name, steps in (("a", 3), ("b", 7), ("c", 11))
    }
    start = {"body": torch.zeros(500).double()}
    assert torch.equal(
        average(start, sites, {})["body"], average(start, {name: sites[name] for name in "cab"}, {})["body"]
    )


def test_the_average_of_equal_weights_is_the_same_weights() -> None:
    same = {"body": torch.tensor([0.1, -3.0, 7e-5])}
    sites = {name: Contribution(same, steps, [1, 1]) for name, steps in (("a", 3), ("b", 7), ("c", 1))}
    assert torch.equal(average({"body": torch.zeros(3)}, sites, {})["body"], same["body"])


@pytest.mark.parametrize("region_wise", [True, False])
def test_shares_add_up_to_one(region_wise: bool) -> None:
    shares = site_shares({"a": A, "b": B, "c": C}, region_wise)
    assert sum(shared for _, shared in shares.values()) == pytest.approx(1)
    assert [sum(own[k] for own, _ in shares.values()) for k in range(2)] == pytest.approx([1, 1])
    assert shares["a"][0] == ([0.75, 0] if region_wise else [0.75, 0.75])


def test_dice_over_the_sites_that_have_the_region() -> None:
    found = mean_over_sites({"a": [0.5, math.nan, math.nan], "b": [0.75, 0.25, math.nan]})
    assert found[:2] == [0.625, 0.25] and math.isnan(found[2])
