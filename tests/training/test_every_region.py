"""A step that learns every annotated region of each patch: the loss is PSL loss's, the gradient that of the regions
one by one."""

from __future__ import annotations

import pytest
import torch
from conemos_bundle.inferers import infer
from conemos_bundle.losses import RegionLoss
from conemos_bundle.networks import NETWORKS
from torch import nn

K = 4
ANNOTATED = [[0, 2, 3], [1]]
REGIONS = torch.tensor([[0, 2, 3], [1, -1, -1]])


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two images, their masks ``(2, K, …)``, NaN where unknown, and those of the regions annotated ``(2, 3, …)``."""
    random = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 12, 8, 8, dtype=torch.double, generator=random)
    every = (torch.rand(2, K, 12, 8, 8, dtype=torch.double, generator=random) < 0.4).double()
    masks, packed = torch.full_like(every, torch.nan), torch.full_like(every[:, :3], torch.nan)
    for b, regions in enumerate(ANNOTATED):
        masks[b, regions] = packed[b, : len(regions)] = every[b, regions]
    masks[0, 2, 3:5] = packed[0, 1, 3:5] = torch.nan  # ignored voxels
    return image, masks, packed


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = NETWORKS[name](num_regions=K, channels=(2, 4), norm="instance")
    return network.double()


@pytest.mark.parametrize("cross_entropy", [0.0, 0.7])
def test_for_the_same_logits_the_loss_is_that_of_psl_loss(cross_entropy: float) -> None:
    _, masks, packed = batch()
    logits = torch.randn(masks.shape, generator=torch.Generator().manual_seed(1))
    of_pairs = torch.zeros(packed.shape)
    for b, regions in enumerate(ANNOTATED):
        of_pairs[b, : len(regions)] = logits[b, regions]
    loss = RegionLoss(cross_entropy)
    assert torch.equal(loss(of_pairs, packed), loss(logits, masks))


def soft_dice(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Equation A1 over the known voxels, in float64."""
    known = ~mask.isnan()
    p, y = logits[known].sigmoid(), mask[known]
    return 1 - (2 * (y * p).sum() + 1e-7) / (y.square().sum() + p.square().sum() + 1e-7)


@pytest.mark.parametrize("voxels_at_once", [1, 10**9])
@pytest.mark.parametrize("name", ["FiLMUNet", "DoDNet", "IndividualNetworks"])
def test_the_gradient_is_the_mean_of_those_of_the_regions_one_by_one(name: str, voxels_at_once: int) -> None:
    network, (image, masks, packed) = build(name), batch()
    expected = {parameter: torch.zeros_like(parameter) for parameter in network.parameters()}
    for b, regions in enumerate(ANNOTATED):
        for k in regions:
            network.zero_grad()
            soft_dice(network(image[b : b + 1], torch.tensor([[k]]))[0, 0], masks[b, k]).backward()
            for parameter, gradient in expected.items():
                if parameter.grad is not None:
                    gradient += parameter.grad / len(regions) / len(ANNOTATED)
    network.zero_grad()
    bounds = []
    network.register_forward_pre_hook(
        lambda module, args, named: bounds.append(named["voxels_at_once"]), with_kwargs=True
    )
    logits = infer(image, network, regions=REGIONS, voxels_at_once=voxels_at_once)
    assert bounds == [voxels_at_once]
    RegionLoss()(logits, packed).backward()
    for parameter, gradient in expected.items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_unknown_regions_are_not_computed() -> None:
    network, (image, _, packed) = build("IndividualNetworks"), batch()
    asked = torch.tensor([[0, 2, -1], [2, -1, -1]])
    logits = infer(image, network, regions=asked)
    RegionLoss()(logits, packed.nan_to_num()).backward()  # even if the target were known there
    assert not logits[asked < 0].any() and logits[asked >= 0].any(dim=(1, 2, 3)).all()
    learned = [branch.backbone.final.weight.grad is not None for branch in network.networks.branches]
    assert learned == [True, False, True, False]


def test_one_region_each_is_the_call_that_it_always_was() -> None:
    network, (image, _, _) = build("FiLMUNet"), batch()
    given = []
    network.register_forward_pre_hook(lambda module, args, named: given.append(set(named)), with_kwargs=True)
    asked = torch.tensor([[3], [1]])
    assert torch.equal(infer(image, network, regions=asked), network(image, regions=asked).float())
    assert given == [{"regions"}] * 2
