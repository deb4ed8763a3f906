from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conemos_bundle.losses import RegionLoss
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.training.mean_teacher import MeanTeacher


def trainer(step: int = 100, learning_rate: float = 0.1) -> Any:
    torch.manual_seed(0)
    network = FiLMUNet(num_regions=3, channels=(2, 4))
    optimizer = torch.optim.SGD(network.parameters(), learning_rate)
    state = SimpleNamespace(device=torch.device("cpu"), iteration=step)
    return SimpleNamespace(network=network, optimizer=optimizer, state=state)


def batch(unannotated: list[int]) -> dict[str, torch.Tensor]:
    """Two images whose drawn regions are 0 and 1; -1: all regions are annotated."""
    random = torch.Generator().manual_seed(3)
    return {
        "image": torch.rand(2, 1, 8, 8, 8, generator=random),
        "label": (torch.rand(2, 1, 8, 8, 8, generator=random) > 0.5).float(),
        "regions": torch.tensor([[0], [1]]),
        "unannotated": torch.tensor(unannotated)[:, None],
    }


def test_the_weight_rises_to_its_value() -> None:
    teacher = MeanTeacher(trainer().network, RegionLoss(), weight=2.0, rise=100)
    assert teacher.weight_at(0) == pytest.approx(2 * math.exp(-5))
    assert teacher.weight_at(50) == pytest.approx(2 * math.exp(-1.25))
    assert teacher.weight_at(100) == teacher.weight_at(1000) == 2


def test_where_everything_is_annotated_it_is_the_usual_step() -> None:
    usual, taught = trainer(), trainer()
    data = batch([-1, -1])
    loss = RegionLoss()(usual.network(data["image"], regions=data["regions"]), data["label"])
    loss.backward()
    usual.optimizer.step()
    output = MeanTeacher(taught.network, RegionLoss())(taught, data)
    assert output["loss"].item() == pytest.approx(loss.item())
    assert output["pred"].shape == (2, 1, 8, 8, 8)
    for a, b in zip(usual.network.parameters(), taught.network.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_without_noise_the_loss_is_the_distance_from_the_teacher() -> None:
    engine = trainer()
    step = MeanTeacher(engine.network, RegionLoss(), weight=1.0, rise=1, noise=0.0)
    data = batch([2, -1])
    with torch.no_grad():
        for parameter in engine.network.parameters():
            parameter.mul_(1.5)  # away from the teacher
        student, teacher = (
            network(data["image"][:1], regions=torch.tensor([2])) for network in (engine.network, step.teacher)
        )
        p, q = student.sigmoid(), teacher.sigmoid()
        agreement = 1 - 2 * (p * q).sum() / (p.square().sum() + q.square().sum())
        supervised = RegionLoss()(engine.network(data["image"], regions=data["regions"]), data["label"])
    assert agreement > 1e-4
    assert step(engine, data)["loss"].item() == pytest.approx((supervised + agreement).item(), rel=1e-5)


def test_with_all_annotated_regions_it_agrees_on_one_more() -> None:
    engine = trainer()
    step = MeanTeacher(engine.network, RegionLoss(), weight=1.0, rise=1, noise=0.0)
    data = batch([2, -1])
    random = torch.Generator().manual_seed(4)
    masks = (torch.rand(2, 3, 8, 8, 8, generator=random) > 0.5).float()
    data["regions"], data["label"] = torch.tensor([[0, 1, -1], [1, 0, 2]]), masks
    masks[0, 2] = torch.nan
    with torch.no_grad():
        for parameter in engine.network.parameters():
            parameter.mul_(1.5)  # away from the teacher
        every = engine.network(data["image"])
        logits = torch.stack([every[0, [0, 1, 1]], every[1, [1, 0, 2]]])
        p, q = every[:1, 2].sigmoid(), step.teacher(data["image"][:1])[:, 2].sigmoid()
        agreement = 1 - 2 * (p * q).sum() / (p.square().sum() + q.square().sum())
        supervised = RegionLoss()(logits, masks)
    output = step(engine, data)
    assert output["loss"].item() == pytest.approx((supervised + agreement).item(), rel=1e-5)
    assert output["pred"].shape == masks.shape


def test_the_teacher_follows_slowly_and_gets_no_gradient() -> None:
    engine = trainer()
    step = MeanTeacher(engine.network, RegionLoss(), decay=0.9)
    step(engine, batch([2, 0]))
    step.teacher.n_averaged.fill_(1)
    before = [parameter.clone() for parameter in step.teacher.parameters()]
    step(engine, batch([2, 0]))
    for old, now, student in zip(before, step.teacher.parameters(), engine.network.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * old + 0.1 * student)
        assert now.grad is None


def test_noise_depends_on_the_step_alone() -> None:
    def losses(step: int) -> float:
        engine = trainer(step, learning_rate=0.0)
        return MeanTeacher(engine.network, RegionLoss(), rise=1, noise=1.0)(engine, batch([2, 0]))["loss"].item()

    assert losses(1) == losses(1) != losses(2)
