"""The learning rate over a training."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR


def cosine(
    optimizer: Optimizer, max_epochs: int, steps_per_epoch: int, final_fraction: float = 0.01
) -> CosineAnnealingLR:
    """Half a cosine over the steps of the whole training; `TrainerHandlers` steps it once per step.

    Args:
        optimizer: its first group's learning rate is where the schedule begins.
        max_epochs: of the training.
        steps_per_epoch: of an epoch.
        final_fraction: of the first learning rate, reached at the last step.
    """
    final = final_fraction * optimizer.param_groups[0]["lr"]
    return CosineAnnealingLR(optimizer, T_max=max_epochs * steps_per_epoch, eta_min=final)


def go_to_step(scheduler: CosineAnnealingLR, step: int) -> None:
    """Have a schedule of `cosine` go on as if so many steps had been done."""
    scheduler.last_epoch = step
    for group, first in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
        done = (1 + math.cos(math.pi * step / scheduler.T_max)) / 2
        group["lr"] = scheduler.eta_min + (first - scheduler.eta_min) * done
