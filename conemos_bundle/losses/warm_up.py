"""The L2 warm-up of the authors' published script."""

from __future__ import annotations

import torch
from conemos_bundle.utils.known import known_voxels
from ignite.engine import Engine, Events
from torch import nn

TARGET_LOGIT = 5.0


class LogitL2Loss(nn.Module):
    """Weighted squared distance of the logits to +5 inside and -5 outside a region, as in the authors' code.

    Its weights leave out the voxels of the first channel. For a conditioned network, whose only channel is the region
    drawn, these are the region itself: this loss only teaches it the background. Sums run over the whole batch.
    """

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar; arguments as for `RegionLoss.forward`."""
        known, target = known_voxels(target)
        weights = (1 - target[:, :1] + 1e-8).expand_as(target) * known
        distances = (logits.float() - TARGET_LOGIT * (2 * target - 1)).square()
        return (weights * distances).sum() / weights.sum().clamp(min=1e-8)


class WarmUpLoss(nn.Module):
    """One loss during the first ``steps`` steps of training, another after them.

    It is a handler too (put it into ``train_handlers``): the trainer's own step count decides, so a resumed training
    goes on with the right one.
    """

    def __init__(self, first: nn.Module, then: nn.Module, steps: int) -> None:
        super().__init__()
        self.first = first
        self.then = then
        self.steps = steps
        self.warming_up = steps > 0

    def attach(self, engine: Engine) -> None:
        """Follow the step count of the trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._count)

    def _count(self, engine: Engine) -> None:
        self.warming_up = engine.state.iteration <= self.steps

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of the present phase, a scalar."""
        return (self.first if self.warming_up else self.then)(logits, target)
