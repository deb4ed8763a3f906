"""The soft Dice loss gives the values of the authors' code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conemos_bundle.losses import RegionLoss

Arrays = Callable[[str], dict[str, np.ndarray]]


def logits_and_target(values: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    probabilities = torch.from_numpy(values["probabilities"]).double()
    return torch.logit(probabilities), torch.from_numpy(values["target"])


@pytest.mark.parametrize("k", range(3))
def test_loss_of_each_region(reference_arrays: Arrays, k: int) -> None:
    values = reference_arrays("soft_dice")
    logits, target = logits_and_target(values)
    loss = RegionLoss()(logits[:, k : k + 1], target[:, k : k + 1])
    assert loss.item() == pytest.approx(values[f"loss_region_{k}"].item(), abs=1e-5)


def test_loss_of_what_is_annotated(reference_arrays: Arrays) -> None:
    """The authors' value for a batch, from ours for each of its scans.

    Their weights ``annotated / annotated.sum(-1)`` lose an axis in the sum and gain three before: in a batch the losses
    of every scan are weighted by the mask of every scan, and divided by the number of regions of every scan. For a scan
    alone that is the mean over its annotated regions, which ours is in a batch too.
    """
    values = reference_arrays("soft_dice")
    logits, target = logits_and_target(values)
    annotated = torch.from_numpy(values["annotated"]) > 0
    counts = annotated.sum(1)
    assert counts.tolist() == [2, 1]
    losses = torch.empty(2, 2)  # of scan b under the mask of scan m
    for b in range(2):
        for m in range(2):
            known = target[b : b + 1].clone()
            known[:, ~annotated[m]] = torch.nan
            losses[b, m] = RegionLoss()(logits[b : b + 1], known)
    mixed = (losses * counts).mean() * (1 / counts).mean()
    assert mixed.item() == pytest.approx(values["loss_annotated_only"].item(), abs=1e-5)

    target[~annotated] = torch.nan
    assert RegionLoss()(logits, target).item() == pytest.approx(losses.diag().mean().item(), abs=1e-6)
