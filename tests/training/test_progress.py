from __future__ import annotations

import io
import logging
import re
import time

import pytest
import torch
import tqdm
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.training import progress as progress_module
from conemos_bundle.training.progress import FIRST_STEPS, Progress, describe_training
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
    engine.state.iteration = epoch * 120
    progress = Progress()
    progress.losses, progress.seconds = [torch.tensor(0.5)], [1.0, 2.0, 60.0]  # the median: one slow step says nothing
    with caplog.at_level(logging.INFO):
        progress._epoch_completed(engine)
    assert caplog.records[-1].getMessage() == f"epoch {epoch}/10: loss 0.5000, 2.00 s per step, {minutes} min left"


def lines_of_long_epochs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, seconds: float, steps: int, about: str = ""
) -> list[str]:
    """What two epochs log, with steps of so many seconds by a clock of our own."""
    clock = [0.0]

    def step(engine: Engine, batch: int) -> dict[str, torch.Tensor]:
        clock[0] += seconds
        return {"loss": torch.tensor(2.0)}

    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: clock[0])
    trainer = Engine(step)
    trainer.state.device = torch.device("cpu")
    Progress(about=about).attach(trainer)
    with caplog.at_level(logging.INFO):
        trainer.run(range(steps), max_epochs=2)
    return [record.getMessage() for record in caplog.records if record.name == "conemos_bundle.training.progress"]


def test_without_a_terminal_the_time_is_told_early_and_progress_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of_long_epochs(caplog, monkeypatch, 0.5, 300)
    assert lines == [
        "0.50 s per step: about 5 min for 600 steps, besides validation",
        "epoch 1/2, step 140/300: loss 2.0000, 0.50 s per step, 4 min left",
        "epoch 1/2, step 260/300: loss 2.0000, 0.50 s per step, 3 min left",
        "epoch 1/2: loss 2.0000, 0.50 s per step, 2 min left",
        "epoch 2/2, step 120/300: loss 2.0000, 0.50 s per step, 2 min left",
        "epoch 2/2, step 240/300: loss 2.0000, 0.50 s per step, 0 min left",
        "epoch 2/2: loss 2.0000, 0.50 s per step, 0 min left",
    ]


def test_slow_steps_are_not_waited_for(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of_long_epochs(caplog, monkeypatch, 25.0, 10)
    assert lines[0] == "25.00 s per step: about 8 min for 20 steps, besides validation"  # after the third of them
    assert [line.partition(":")[0] for line in lines[1:4]] == [
        "epoch 1/2, step 6/10",
        "epoch 1/2, step 9/10",
        "epoch 1/2",
    ]


def test_a_short_training_is_estimated_in_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of_long_epochs(caplog, monkeypatch, 0.5, 25)
    assert lines[0] == "0.50 s per step: about 25 s for 50 steps, besides validation"


def test_short_epochs_need_no_estimate(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(lines_of_long_epochs(caplog, monkeypatch, 0.5, FIRST_STEPS)) == 2


def test_on_a_terminal_the_bar_tells_it(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        progress_module, "tqdm", lambda **options: tqdm.tqdm(**{**options, "disable": False, "file": screen})
    )
    lines = lines_of_long_epochs(caplog, monkeypatch, 0.5, 300)
    assert [line.partition(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "600/600" in screen.getvalue()


def test_before_the_first_step_a_line_says_what_is_trained(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of_long_epochs(caplog, monkeypatch, 0.5, 3, about="CoNeMOS on 3 scans")
    assert lines[0] == "training CoNeMOS on 3 scans; 2 epochs of 3 steps, on cpu"
    assert [line[:5] for line in lines[1:]] == ["epoch", "epoch"]


def test_what_is_trained() -> None:
    scans = [
        {"image": f"{i}.nii", "subject": str(i), "masks": {name: f"{name}{i}.nii" for name in masks}}
        for i, masks in enumerate((["r0"], ["r0", "r1"], []))
    ]
    regions = [f"r{i}" for i in range(14)]
    data = Datalist.model_validate({"regions": regions, "training": scans})
    plan = {"patch_size": [32, 24, 16], "spacing": [1.0, 1.25, 5.0]}
    told = describe_training(data, plan, {"method": "PSL loss", "batch_size": 4})
    assert told.startswith("PSL loss on 2 scans (r0 in 2, r1 in 1, r2 in 0, ")
    assert told.endswith("r11 in 0 and 2 more); 4 patches a step, of 32 x 24 x 16 voxels of 1 x 1.25 x 5 mm")
    own = describe_training(data, {**plan, "scales": {"r0": {}}}, {})
    assert own.endswith("of at most 32 x 24 x 16 voxels, each region at a spacing of its own")


def test_of_a_long_training_it_is_told_how_to_have_a_shorter_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of_long_epochs(caplog, monkeypatch, 25.0, 100)
    assert lines[0].endswith("about 83 min for 200 steps, besides validation; --minutes 30 takes no longer than that")
