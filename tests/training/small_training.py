"""A training of a few weights, with its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conemos_bundle.training.checkpoint import Checkpoint
from ignite.engine import Engine, Events

EPOCH_LENGTH = 3


class Training:
    """A linear model, Adam and a schedule, with data that depend on the step alone; ``scores`` are its validation."""

    def __init__(self, folder: Path, scores: list[float] | None = None, **options: Any) -> None:
        torch.manual_seed(0)
        self.network = torch.nn.Linear(4, 2)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=4 * EPOCH_LENGTH)
        self.trainer = Engine(self.step)
        self.steps: list[int] = []
        self.rates: list[float] = []
        evaluator = None
        if scores is not None:
            evaluator = Engine(lambda engine, batch: None)
            self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self.validate, evaluator, scores)
        self.handler = Checkpoint(
            str(folder), self.network, self.optimizer, self.scheduler, evaluator, metric="dice", **options
        )
        self.handler.attach(self.trainer)

    def step(self, engine: Engine, batch: int) -> None:
        data = torch.randn(8, 4, generator=torch.Generator().manual_seed(engine.state.iteration))
        self.steps.append(engine.state.iteration)
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.optimizer.zero_grad()
        (self.network(data) - data[:, :2] ** 2).square().mean().backward()
        self.optimizer.step()
        self.scheduler.step()

    def validate(self, trainer: Engine, evaluator: Engine, scores: list[float]) -> None:
        evaluator.state.epoch = trainer.state.epoch  # as MONAI's ValidationHandler does
        evaluator.state.metrics = {"dice": scores[trainer.state.epoch - 1]}

    def run(self, max_epochs: int = 4) -> Training:
        self.trainer.run(range(EPOCH_LENGTH), max_epochs=max_epochs)
        return self


def content(folder: Path, name: str) -> Any:
    return torch.load(folder / name, weights_only=True)


def assert_equal(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        assert a == b
