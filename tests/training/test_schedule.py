"""The learning rate's schedule counts steps."""

from __future__ import annotations

import math

import pytest
import torch
from conemos_bundle.training.schedule import TimedCosine, cosine, go_to_step


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


class Clock:
    """`time.perf_counter` by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


def test_by_time_the_same_cosine_over_the_seconds_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("conemos_bundle.training.schedule.time", clock)
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.2, 0.1)]
    optimizer = torch.optim.Adam(groups)
    schedule = cosine(optimizer, max_epochs=1, steps_per_epoch=1, final_fraction=0.1, minutes=0.1)
    assert isinstance(schedule, TimedCosine) and not schedule.is_over
    rates = []
    for _ in range(2):  # epochs
        clock.now += 1000  # validation takes none of the time
        schedule.go_on()
        for _ in range(3):
            clock.now += 1.2
            optimizer.step()
            schedule.step()
            rates.append([group["lr"] for group in optimizer.param_groups])
    share = [0.1 + 0.9 * (1 + math.cos(math.pi * min(1.2 * step, 6) / 6)) / 2 for step in range(1, 7)]
    assert rates == [pytest.approx([0.2 * part, 0.1 * part]) for part in share]
    assert schedule.is_over and schedule.spent == pytest.approx(7.2)

    again = cosine(optimizer, max_epochs=1, steps_per_epoch=1, minutes=0.1)
    again.load_state_dict(schedule.state_dict())
    assert isinstance(again, TimedCosine) and again.spent == pytest.approx(7.2)


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
