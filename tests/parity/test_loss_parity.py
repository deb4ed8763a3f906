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
    values = reference_arrays("soft_dice")
    logits, target = logits_and_target(values)
    annotated = torch.from_numpy(values["annotated"]) > 0
    assert 0 < annotated.sum() < annotated.numel()
    target[~annotated] = torch.nan
    assert RegionLoss()(logits, target).item() == pytest.approx(values["loss_annotated_only"].item(), abs=1e-5)
