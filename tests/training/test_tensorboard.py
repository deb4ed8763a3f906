from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.training.tensorboard import tensorboard_handlers
from ignite.engine import Engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@pytest.fixture
def no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    module = sys.modules["conemos_bundle.training.tensorboard"]
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "tensorboard" else find(name))


def written(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values per tag."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def run(handlers: list[Any], losses: list[float], metrics: dict[str, float]) -> None:
    def step(engine: Engine, loss: float) -> dict[str, torch.Tensor]:
        engine.state.metrics.update(metrics)
        return {"loss": torch.tensor(loss)}

    engine = Engine(step)
    for handler in handlers:
        handler.attach(engine)
    engine.run(losses, max_epochs=1)
    for handler in handlers:
        handler.close()


def test_a_training_writes_its_loss_per_step(tmp_path: Path) -> None:
    run(tensorboard_handlers(tmp_path), [0.75, 0.5], {})
    assert written(tmp_path / "tensorboard") == {"train_loss": [(1, 0.75), (2, 0.5)]}


def test_a_validation_writes_its_metrics_once(tmp_path: Path) -> None:
    run(tensorboard_handlers(tmp_path, validation=True), [0.75, 0.5], {"val_mean_dice": 0.25})
    assert written(tmp_path / "tensorboard") == {"val_mean_dice": [(1, 0.25)]}


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    assert tensorboard_handlers(tmp_path, rank=1) == tensorboard_handlers(tmp_path, validation=True, rank=1) == []
    assert not list(tmp_path.iterdir())


def test_a_training_goes_without_tensorboard_and_says_so_once(
    tmp_path: Path, no_tensorboard: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert tensorboard_handlers(tmp_path) == tensorboard_handlers(tmp_path, validation=True) == []
    assert [record.getMessage() for record in caplog.records] == [
        "without TensorBoard, which is not installed: pip install 'conemos-bundle[tensorboard]'"
    ]
    assert not list(tmp_path.iterdir())
