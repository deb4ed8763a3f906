from __future__ import annotations

import numpy as np
import pytest
import torch
from conemos_bundle.losses import RegionLoss
from conemos_bundle.losses.region_loss import mean_over_annotated

NAN = float("nan")


def random_batch(unknown: tuple[tuple[int, int], ...] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, 4, 5, 6, 7, generator=generator)
    target = (torch.rand(logits.shape, generator=generator) < 0.3).float()
    for scan, region in unknown:
        target[scan, region] = NAN
    return logits, target


def soft_dice(logits: torch.Tensor, target: torch.Tensor) -> float:
    """Equation A1 of the paper for one scan and region, with 1e-7 added to each sum."""
    p, y = 1 / (1 + np.exp(-logits.double().numpy())), target.double().numpy()
    return 1 - (2 * (y * p).sum() + 1e-7) / ((y**2).sum() + (p**2).sum() + 1e-7)


UNKNOWN = ((0, 1), (0, 2), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3))
KNOWN = {0: [0, 3], 1: [0, 1, 2]}  # scan 2 knows nothing and counts for nothing


def test_mean_over_what_is_annotated_then_over_scans() -> None:
    logits, target = random_batch(UNKNOWN)
    of_scans = [np.mean([soft_dice(logits[b, k], target[b, k]) for k in regions]) for b, regions in KNOWN.items()]
    assert RegionLoss()(logits, target).item() == pytest.approx(np.mean(of_scans), abs=1e-6)


def test_cross_entropy_is_added_with_its_weight() -> None:
    logits, target = random_batch(UNKNOWN)
    of_scans = [
        torch.stack(
            [torch.nn.functional.binary_cross_entropy(logits[b, k].sigmoid(), target[b, k]) for k in regions]
        ).mean()
        for b, regions in KNOWN.items()
    ]
    entropy = torch.stack(of_scans).mean().item()
    dice = RegionLoss()(logits, target).item()
    assert RegionLoss(cross_entropy=0.7)(logits, target).item() == pytest.approx(dice + 0.7 * entropy, abs=1e-6)


@pytest.mark.parametrize("cross_entropy", [0.0, 1.0])
def test_unknown_regions_have_no_gradient(cross_entropy: float) -> None:
    logits, target = random_batch(UNKNOWN)
    logits.requires_grad_()
    RegionLoss(cross_entropy)(logits, target).backward()
    for b in range(3):
        for k in range(4):
            gradient = logits.grad[b, k]
            assert gradient.isfinite().all()
            assert bool(gradient.any()) is ((b, k) not in UNKNOWN)


def test_an_empty_region_is_not_an_unknown_one() -> None:
    logits, target = random_batch()
    target[:] = 0
    assert RegionLoss()(logits, target).item() == pytest.approx(1, abs=1e-6)
    assert RegionLoss()(torch.full_like(logits, -40.0), target).item() == pytest.approx(0, abs=1e-6)


def test_a_batch_that_knows_nothing_gives_zero_with_a_gradient() -> None:
    logits, target = random_batch()
    logits.requires_grad_()
    loss = RegionLoss(cross_entropy=1.0)(logits, torch.full_like(target, NAN))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_large_logits_stay_finite(value: float) -> None:
    logits, target = random_batch()
    logits = torch.full_like(logits, value, requires_grad=True)
    loss = RegionLoss(cross_entropy=1.0)(logits, target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_bfloat16_logits_are_summed_in_float32() -> None:
    logits, target = random_batch()
    coarse = logits.bfloat16()
    loss = RegionLoss(cross_entropy=1.0)(coarse, target)
    assert loss.dtype == torch.float32
    assert loss.item() == RegionLoss(cross_entropy=1.0)(coarse.float(), target).item()


def test_mean_over_annotated_by_hand() -> None:
    losses = torch.tensor([[1.0, 3.0, 100.0], [100.0, 5.0, 100.0], [100.0, 100.0, 100.0]])
    annotated = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
    assert mean_over_annotated(losses, annotated).item() == (2 + 5) / 2
