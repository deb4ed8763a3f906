"""The learning rate over a training that takes so many steps, or so long."""

from __future__ import annotations

import math
import time

import ignite.distributed as idist
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler


class TimedCosine(LRScheduler):
    """Half a cosine over the seconds of training steps; loading counts, what is between two epochs does not.

    Processes that train together go by the slowest one's clock, so that their learning rates are equal.

    Args:
        optimizer: its groups' learning rates are where the schedule begins.
        seconds: of steps, until ``final_fraction`` of the first learning rate is reached.
        final_fraction: see there.

    Example::

        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> schedule = TimedCosine(optimizer, seconds=60, final_fraction=0.01)
        >>> schedule.spent, schedule.is_over, optimizer.param_groups[0]["lr"]
        (0.0, False, 0.1)
    """

    def __init__(self, optimizer: Optimizer, seconds: float, final_fraction: float = 0.01) -> None:
        self.seconds = float(seconds)
        self.final_fraction = final_fraction
        self.spent = 0.0
        self._since: float | None = None
        super().__init__(optimizer)

    @property
    def is_over(self) -> bool:
        """Whether the time is spent."""
        return self.spent >= self.seconds

    def go_on(self) -> None:
        """Start the clock: an epoch begins."""
        self._since = time.perf_counter()

    def step(self, epoch: int | None = None) -> None:
        """A step of the training is done."""
        if self._since is not None:
            now = time.perf_counter()
            spent = self.spent + now - self._since
            self.spent = float(idist.all_reduce(spent, "MAX")) if idist.get_world_size() > 1 else spent
            self._since = now
        super().step(epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group now."""
        fraction = min(self.spent / self.seconds, 1.0)
        share = self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * fraction)) / 2
        return [float(first) * share for first in self.base_lrs]

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint keeps; a clock is another one in each process."""
        return {**super().state_dict(), "_since": None}


def cosine(
    optimizer: Optimizer,
    max_epochs: int,
    steps_per_epoch: int,
    final_fraction: float = 0.01,
    minutes: float | None = None,
) -> LRScheduler:
    """Half a cosine over the steps, or the time, of the whole training; `TrainerHandlers` steps it once per step.

    Args:
        optimizer: its first group's learning rate is where the schedule begins.
        max_epochs: of the training.
        steps_per_epoch: of an epoch.
        final_fraction: of the first learning rate, reached at the last step.
        minutes: of training steps, where the time is what ends it.
    """
    if minutes is not None:
        return TimedCosine(optimizer, 60 * minutes, final_fraction)
    final = final_fraction * optimizer.param_groups[0]["lr"]
    return CosineAnnealingLR(optimizer, T_max=max_epochs * steps_per_epoch, eta_min=final)


def go_to_step(scheduler: CosineAnnealingLR, step: int) -> None:
    """Have a schedule of `cosine` go on as if so many steps had been done."""
    scheduler.last_epoch = step
    for group, first in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
        done = (1 + math.cos(math.pi * step / scheduler.T_max)) / 2
        group["lr"] = scheduler.eta_min + (first - scheduler.eta_min) * done
