"""The learning rate's schedule counts steps."""

from __future__ import annotations

import math

import pytest
import torch
from conemos_bundle.training.schedule import cosine, go_to_step


def test_a_cosine_over_all_steps_down_to_a_fraction_of_the_first_rate() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    scheduler = cosine(optimizer, max_epochs=3, steps_per_epoch=4, final_fraction=0.1)
    rates = []
    for _ in range(12):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    expected = [0.02 + 0.18 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(1, 13)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("done", [0, 5, 11])
def test_a_schedule_goes_on_from_any_step_as_if_it_had_done_those_before(done: int) -> None:
    optimizers = [torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.2) for _ in range(2)]
    whole, jumped = (cosine(optimizer, max_epochs=3, steps_per_epoch=4) for optimizer in optimizers)
    for _ in range(done):
        optimizers[0].step()
        whole.step()
    go_to_step(jumped, done)
    for _ in range(2 if done < 11 else 1):
        assert optimizers[1].param_groups[0]["lr"] == pytest.approx(optimizers[0].param_groups[0]["lr"], rel=1e-9)
        for optimizer, scheduler in zip(optimizers, (whole, jumped), strict=True):
            optimizer.step()
            scheduler.step()
    assert optimizers[1].param_groups[0]["lr"] == pytest.approx(optimizers[0].param_groups[0]["lr"], rel=1e-9)
