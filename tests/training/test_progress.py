from __future__ import annotations

import logging
import re
import time

import pytest
import torch
from conemos_bundle.training.progress import Progress
from ignite.engine import Engine, Events

NAN = float("nan")
DICE = torch.tensor([[0.5, NAN], [0.75, 0.25]])


def log_lines(
    caplog: pytest.LogCaptureFixture, max_epochs: int = 3, validated: tuple[int, ...] = (), sleep: float = 0.0
) -> list[str]:
    """What a training of 4 steps an epoch logs, with losses 1, 2, 3, …, and validation after some epochs."""

    def step(engine: Engine, batch: int) -> dict[str, torch.Tensor]:
        time.sleep(sleep)
        return {"loss": torch.tensor(float(engine.state.iteration))}

    trainer, evaluator = Engine(step), Engine(lambda engine, batch: None)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate() -> None:
        if trainer.state.epoch in validated:
            evaluator.state.epoch = trainer.state.epoch
            evaluator.state.metrics = {"dice": 0.4375}
            evaluator.state.metric_details = {"dice": DICE}

    Progress(evaluator, ["body", "left eye"], metric="dice").attach(trainer)
    with caplog.at_level(logging.INFO):
        trainer.run(range(4), max_epochs=max_epochs)
    return [record.getMessage() for record in caplog.records if record.name == "conemos_bundle.training.progress"]


def test_one_line_an_epoch_with_its_mean_loss(caplog: pytest.LogCaptureFixture) -> None:
    lines = log_lines(caplog)
    assert lines == [
        "epoch 1/3: loss 2.5000, 0.00 s per step, 0 min left",
        "epoch 2/3: loss 6.5000, 0.00 s per step, 0 min left",
        "epoch 3/3: loss 10.5000, 0.00 s per step, 0 min left",
    ]


def test_validation_dice_of_each_region_only_where_the_epoch_was_validated(caplog: pytest.LogCaptureFixture) -> None:
    lines = log_lines(caplog, validated=(2,))
    assert [("validation" in line) for line in lines] == [False, True, False]
    assert lines[1].endswith("min left; validation Dice 0.4375 (body 0.625, left eye 0.250)")


def test_false_positives_where_a_region_is_absent(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    details = {"dice": DICE, "val_false_positive_ml": torch.tensor([[NAN, 0.5], [NAN, 1.0]])}
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch = engine.state.max_epochs = engine.state.epoch_length = 1
    engine.state.metrics, engine.state.metric_details = {"dice": 0.4375}, details
    progress = Progress(engine, ["body", "left eye"], metric="dice")
    progress.losses, progress.seconds = [torch.tensor(0.5)], [1.0]
    with caplog.at_level(logging.INFO):
        progress._epoch_completed(engine)
    assert caplog.records[-1].getMessage().endswith("left eye 0.250); ml where absent: left eye 0.75")


def test_step_time_and_minutes_left(caplog: pytest.LogCaptureFixture) -> None:
    line = log_lines(caplog, max_epochs=2, sleep=0.03)[0]
    found = re.fullmatch(r"epoch 1/2: loss 2\.5000, (\d\.\d\d) s per step, 0 min left", line)
    assert found is not None
    assert 0.03 <= float(found[1]) < 0.2


@pytest.mark.parametrize(("epoch", "minutes"), [(1, 36), (7, 12), (10, 0)])
def test_minutes_left_are_those_of_the_steps_to_come(
    caplog: pytest.LogCaptureFixture, epoch: int, minutes: int
) -> None:
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch, engine.state.max_epochs, engine.state.epoch_length = epoch, 10, 120
    progress = Progress()
    progress.losses, progress.seconds = [torch.tensor(0.5)], [1.0, 2.0, 60.0]  # the median: one slow step says nothing
    with caplog.at_level(logging.INFO):
        progress._epoch_completed(engine)
    assert caplog.records[-1].getMessage() == f"epoch {epoch}/10: loss 0.5000, 2.00 s per step, {minutes} min left"
