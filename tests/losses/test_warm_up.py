from __future__ import annotations

import pytest
import torch
from conemos_bundle.losses import LogitL2Loss, RegionLoss, WarmUpLoss
from ignite.engine import Engine

NAN = float("nan")


def test_squared_distance_to_plus_and_minus_5_outside_the_first_region() -> None:
    """Written out voxel by voxel: weight 1 where the first channel is background, 1e-8 elsewhere."""
    logits = torch.tensor([[[4.0, -3.0, 0.0, 7.0], [6.0, -5.0, 1.0, -1.0]]]).view(1, 2, 4, 1, 1)
    target = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]]).view(1, 2, 4, 1, 1)
    first = (2**2 + 5**2 + 12**2) / 3
    second = (0**2 + 4**2 + 4**2) / 3
    assert LogitL2Loss()(logits, target).item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_unknown_regions_have_neither_loss_nor_gradient() -> None:
    logits = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    target = (torch.rand(2, 3, 4, 4, 4) < 0.3).float()
    target[0, 1] = NAN
    target[1, 2] = NAN
    loss = LogitL2Loss()(logits, target)
    outside = (
        (1 - target[:, :1]).expand(2, 3, 4, 4, 4).clone()
    )  # the first channel's background weighs, in all channels
    outside[0, 1] = outside[1, 2] = 0
    squares = (logits - 5 * (2 * target.nan_to_num() - 1)) ** 2
    assert loss.item() == pytest.approx(((outside * squares).sum() / outside.sum()).item(), rel=1e-5)
    loss.backward()
    assert not logits.grad[0, 1].any()
    assert not logits.grad[1, 2].any()
    assert logits.grad[0, 2].any()


class Constant(torch.nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.value)


def losses_of_steps(steps: int, done: int = 0) -> list[float]:
    """The losses of 6 steps of training, or of the rest of them after ``done``."""
    loss = WarmUpLoss(Constant(1.0), Constant(2.0), steps)
    values: list[float] = []
    engine = Engine(lambda engine, batch: values.append(loss(torch.zeros(1), torch.zeros(1)).item()))
    loss.attach(engine)
    if done:
        engine.load_state_dict({"iteration": done, "max_epochs": 2, "epoch_length": 3})
    engine.run([0, 0, 0], max_epochs=2)
    return values


@pytest.mark.parametrize("steps", [0, 1, 4, 6, 7])
def test_the_first_loss_for_so_many_steps_then_the_other(steps: int) -> None:
    assert losses_of_steps(steps) == [1.0] * min(steps, 6) + [2.0] * max(0, 6 - steps)


def test_a_resumed_training_goes_on_with_the_loss_of_its_step() -> None:
    assert losses_of_steps(4, done=3) == [1.0, 2.0, 2.0]
    assert losses_of_steps(2, done=3) == [2.0, 2.0, 2.0]


def test_without_warm_up_the_second_loss_from_the_start() -> None:
    loss = WarmUpLoss(LogitL2Loss(), RegionLoss(), steps=0)
    logits, target = torch.randn(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4)
    assert loss(logits, target) == RegionLoss()(logits, target)
