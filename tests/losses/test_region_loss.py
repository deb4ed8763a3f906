from __future__ import annotations

import numpy as np
import pytest
import torch
from conemos_bundle.losses import LogitL2Loss, RegionLoss
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


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_where_no_voxel_is_inside_the_loss_is_the_cross_entropy_alone(weight: float) -> None:
    """Soft Dice would be 1 whatever is predicted. With weight 0 the cross-entropy counts once: absence is learned."""
    logits, target = random_batch()
    target[:, 1:] = 0
    logits.requires_grad_()
    loss = RegionLoss(weight)(logits, target)
    entropy = torch.nn.functional.binary_cross_entropy(logits.sigmoid(), target, reduction="none").mean((2, 3, 4))
    first = torch.tensor([soft_dice(logits[b, 0].detach(), target[b, 0]) for b in range(3)]) + weight * entropy[:, 0]
    expected = (first + (weight or 1) * entropy[:, 1:].sum(1)).mean() / 4
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    loss.backward()
    assert (logits.grad[:, 1:] > 0).all()  # each voxel is pushed out of an absent region
    assert RegionLoss(weight)(torch.full_like(logits, -40.0)[:, 1:], target[:, 1:]).item() == pytest.approx(0, abs=1e-6)


def sparse_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, a target with every third plane known (one of its regions without a voxel inside), and what is known."""
    logits, target = random_batch(UNKNOWN)
    target[1, 0] = 0
    known = torch.zeros_like(target, dtype=torch.bool)
    known[:, :, :, ::3] = True
    return logits, target.masked_fill(~known, NAN), known & ~target.isnan()


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_loss_of_known_voxels_is_that_of_a_scan_that_consists_of_them(weight: float) -> None:
    logits, target, _ = sparse_batch()
    only = logits[:, :, :, ::3], target[:, :, :, ::3]
    assert RegionLoss(weight)(logits, target).item() == pytest.approx(RegionLoss(weight)(*only).item(), abs=1e-6)


@pytest.mark.parametrize("loss", [RegionLoss(), RegionLoss(1.0), LogitL2Loss()], ids=["dice", "both", "warm-up"])
def test_the_gradient_at_ignored_voxels_is_exactly_zero(loss: torch.nn.Module) -> None:
    logits, target, known = sparse_batch()
    logits.requires_grad_()
    loss(logits, target).backward()
    assert logits.grad.isfinite().all()
    assert not logits.grad[~known].any()
    if isinstance(loss, RegionLoss):  # the warm-up leaves out the first channel's own voxels
        assert logits.grad[known].all()


def test_a_channel_without_a_known_voxel_counts_for_nothing() -> None:
    logits, target, _ = sparse_batch()
    alone = RegionLoss(1.0)(logits[:1, :1], target[:1, :1])
    target[0, 3] = NAN
    assert RegionLoss(1.0)(logits[:1], target[:1]).item() == pytest.approx(alone.item(), abs=1e-6)


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
