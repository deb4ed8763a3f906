"""The learning rate's schedule counts steps."""

from __future__ import annotations

import math

import pytest
import torch
from conemos_bundle.training.schedule import cosine


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
