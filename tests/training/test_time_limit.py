"""--minutes: a training ends when its time is over, is validated and saved then, and trains no more when resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.errors import UserError, find_user_error
from conemos_bundle.training.curve import read_curve
from ignite.engine import Events

Build = Callable[..., Any]


@pytest.fixture
def seconds_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a second later than the one before: two looks are a step."""
    ticks = iter(range(10**6))

    class Clock:
        perf_counter = staticmethod(lambda: float(next(ticks)))

    monkeypatch.setattr("conemos_bundle.training.schedule.time", Clock)


def test_the_epoch_in_which_the_time_ends_is_the_last(build: Build, tmp_path: Path, seconds_per_step: None) -> None:
    get = build(max_epochs=1, minutes=4 / 60, val_interval=99)  # epochs of three steps
    get("train::trainer").run()
    rows = read_curve(tmp_path / "run" / "curve.csv")
    assert [(row.epoch, row.step) for row in rows] == [(1, 3), (2, 4)]
    assert rows[0].validation_dice is None and rows[1].validation_dice is not None
    assert rows[1].learning_rate == pytest.approx(1e-5)
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert (saved["epoch"], saved["iteration"], saved["scheduler"]["spent"]) == (2, 4, 4.0)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["settings"]["minutes"] == pytest.approx(4 / 60)

    before = (tmp_path / "run" / "model.pt").read_bytes()
    build(max_epochs=1, minutes=4 / 60, val_interval=99)("train::trainer").run()
    assert len(read_curve(tmp_path / "run" / "curve.csv")) == 2
    assert (tmp_path / "run" / "model.pt").read_bytes() == before


def test_what_is_killed_goes_on_with_the_time_that_is_left(
    build: Build, tmp_path: Path, seconds_per_step: None
) -> None:
    trainer = build(minutes=8 / 60)("train::trainer")
    epochs = 0

    def kill(engine: Any) -> None:
        nonlocal epochs
        epochs += 1
        if epochs == 2:
            raise KeyboardInterrupt

    trainer.add_event_handler(Events.EPOCH_STARTED, kill)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert [row.step for row in read_curve(tmp_path / "run" / "curve.csv")] == [3]
    build(minutes=8 / 60)("train::trainer").run()
    assert [row.step for row in read_curve(tmp_path / "run" / "curve.csv")] == [3, 6, 8]


def test_another_time_is_another_training(build: Build, tmp_path: Path, seconds_per_step: None) -> None:
    build(minutes=1 / 60)("train::trainer").run()
    with pytest.raises(UserError, match="belongs to a run with other minutes"):
        build(minutes=2 / 60)("train::trainer").run()
    with pytest.raises(UserError, match="belongs to a run with other minutes"):
        build()("train::trainer").run()


def test_without_a_time_the_record_is_as_it_was(build: Build, tmp_path: Path) -> None:
    build()("train::trainer").run()
    assert "minutes" not in json.loads((tmp_path / "run" / "run.json").read_text())["settings"]


def test_the_log_tells_the_time_that_is_left(
    build: Build, seconds_per_step: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "conemos_bundle.training.progress"):
        build(minutes=5 / 60)("train::trainer").run()
    lines = [line for line in caplog.messages if line.startswith(("epoch", "training"))]
    assert "; 5 s, epochs of 3 steps" in lines[0]
    assert [line.split(":")[0] for line in lines[1:]] == ["epoch 1", "epoch 2"]
    assert lines[-1].split("s per step, ")[1].startswith("0 min left")


def test_a_learning_rate_that_does_not_go_by_time_is_refused(build: Build, tmp_path: Path) -> None:
    get = build(minutes=1, lr_scheduler={"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@optimizer"})
    with pytest.raises(Exception, match=".") as error:
        get("train::trainer")
    assert "--minutes: the learning rate of this configuration (ConstantLR)" in str(find_user_error(error.value))


def test_a_mean_teacher_goes_by_steps(build: Build, tmp_path: Path) -> None:
    get = build(minutes=1, extra_modules={"teacher": {"_target_": "torch.nn.Identity"}})
    with pytest.raises(Exception, match=".") as error:
        get("train::trainer")
    assert "--minutes: the mean teacher's weight rises with steps" in str(find_user_error(error.value))
