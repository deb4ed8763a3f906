"""A region begins as an old one, changes little, and its own weights are enough to make it again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conemos_bundle.networks import AddedRegion, FiLMUNet
from conemos_bundle.networks.added_region import CAPACITIES, own_backbone, own_weights, with_own_weights

SHAPES: list[dict[str, Any]] = [
    {"norm": "instance", "film_position": "before_activation"},
    {"norm": None, "film_position": "after_activation"},
    {"norm": "batch", "film_position": "after_activation", "skip": "first_conv"},
]


def networks(shape: dict[str, Any], n_conditioned: int | None, **options: Any) -> tuple[FiLMUNet, AddedRegion]:
    torch.manual_seed(0)
    base = FiLMUNet(num_regions=3, channels=(4, 8), n_conditioned=n_conditioned, **shape).eval()
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return base, AddedRegion(channels=(4, 8), **shape, **options).eval()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape["norm"]))
@pytest.mark.parametrize("n_conditioned", [3, None])
def test_it_begins_as_a_region_of_the_network(shape: dict[str, Any], n_conditioned: int | None) -> None:
    base, added = networks(shape, n_conditioned)
    image = torch.rand(2, 1, 16, 12, 16)
    with torch.no_grad():
        for region in range(3):
            added.begin_as(base, region)
            assert torch.allclose(added(image), base(image, torch.tensor([region])), atol=1e-4)


def test_the_mean_is_of_gammas_and_betas() -> None:
    base, added = networks(SHAPES[0], None)
    biases = []
    for region in (0, 1, 2, None):
        added.begin_as(base, region)
        biases.append(added.state_dict()["backbone.final_film.projection.bias"].clone())
    assert torch.allclose(torch.stack(biases[:3]).mean(0), biases[3], atol=1e-6)


def test_statistics_of_batch_norms_are_the_regions_own() -> None:
    base, added = networks(SHAPES[2], 3, capacity="film")
    added.begin_as(base, 0)
    image = torch.rand(2, 1, 16, 16, 16) * 5
    added.train()(image)
    backbone = own_backbone(in_channels=1, channels=(4, 8), convs_per_level=2, **SHAPES[2])
    backbone.load_state_dict(with_own_weights(base.state_dict(), own_weights(added), backbone))
    found = backbone.eval().decode(backbone.encode(image), torch.ones(2, 1))
    torch.testing.assert_close(found, added.eval()(image))
    assert any("running_mean" in name for name in own_weights(added))
    assert not torch.allclose(found, base(image, torch.tensor([0])), rtol=0, atol=1e-5)


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_only_what_is_learned_changes_and_it_is_enough_to_make_the_region_again(capacity: str) -> None:
    base, added = networks(SHAPES[0], 3, capacity=capacity, rank=2)
    added.begin_as(base, 0)
    frozen = {name: p.detach().clone() for name, p in added.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.Adam([p for p in added.parameters() if p.requires_grad], lr=0.05)
    image = torch.rand(1, 1, 16, 16, 16)
    before = added(image).detach()
    for _ in range(3):
        optimizer.zero_grad()
        added(image).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(p, frozen[name]) for name, p in added.named_parameters() if name in frozen)
    assert not torch.allclose(added(image), before)
    again = own_backbone(1, (4, 8), 2, "instance", "last", "before_activation").eval()
    again.load_state_dict(with_own_weights(base.state_dict(), own_weights(added), again))
    with torch.no_grad():
        assert torch.equal(again.decode(again.encode(image), torch.ones(1, 1)), added(image))


def test_how_little_is_learned() -> None:
    _, added = networks(SHAPES[0], 3, rank=2)
    convs = {"1": (1, 4), "2": (4, 4), "3": (4, 8), "4": (8, 8), "5": (12, 4), "6": (4, 4)}
    changes = sum(2 * (27 * inputs + outputs) for inputs, outputs in convs.values())
    films = sum(2 * channels for channels in (4, 4, 8, 8, 4, 4, 1))
    assert sum(p.numel() for p in added.parameters() if p.requires_grad) == changes + films


def test_a_change_begins_at_zero_and_is_of_low_rank() -> None:
    base, added = networks(SHAPES[0], 3, rank=2)
    added.begin_as(base, 0)
    conv = added.backbone.encoder.levels[1][1].conv
    before = conv.weight.detach().clone()
    assert torch.equal(before, base.backbone.encoder.levels[1][1].conv.weight)
    torch.nn.init.normal_(conv.parametrizations.weight[0].up)
    assert torch.linalg.matrix_rank((conv.weight - before).flatten(1)) == 2


def test_options_that_are_none() -> None:
    for options in ({"num_regions": 2}, {"capacity": "full"}, {"rank": 0}):
        with pytest.raises(ValueError, match="an added region is one"):
            AddedRegion(**options)  # type: ignore[arg-type]
