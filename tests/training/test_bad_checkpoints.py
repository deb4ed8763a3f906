"""Checkpoints that are damaged, or of something else: one line, and no code is run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.errors import UserError

from tests.training.small_training import Training, content


@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused_in_one_line(tmp_path: Path, part: float) -> None:
    Training(tmp_path).run(max_epochs=1)
    file = tmp_path / "checkpoint.pt"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(UserError, match=r"checkpoint\.pt: cannot be read; remove it to start anew") as caught:
        Training(tmp_path).run()
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(4, 2).state_dict(), tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt: "):
        Training(tmp_path, identity={"seed": 0}).run()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", None), ("optimizer", {"state": {}, "param_groups": []}), ("scheduler", 5), ("network", {}),
        ("network", [1]), ("also", None), ("epoch", "1"), ("epoch", -1), ("epoch", 99), ("iteration", 1.5),
        ("best", "0.5"), ("best_epoch", None), ("identity", [1]), ("identity", 5),
    ],
)  # fmt: skip
def test_fields_of_a_checkpoint_that_make_no_sense(field: str, value: Any, tmp_path: Path) -> None:
    Training(tmp_path, also={"teacher": torch.nn.Linear(1, 1)}).run(max_epochs=1)
    saved = content(tmp_path, "checkpoint.pt")
    torch.save({**saved, field: value}, tmp_path / "checkpoint.pt")
    again = Training(tmp_path, also={"teacher": torch.nn.Linear(1, 1)})
    with pytest.raises(UserError, match=r"checkpoint\.pt: .*; remove it to start anew") as caught:
        again.run()
    assert "\n" not in str(caught.value) and again.steps == []
    del saved[field]
    torch.save(saved, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt: .*; remove it to start anew"):
        Training(tmp_path, also={"teacher": torch.nn.Linear(1, 1)}).run()


class Evil:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a checkpoint ran code')",)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"network": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="cannot be read"):
        Training(tmp_path).run()


def change(saved: dict[str, Any], place: str, value: Any) -> None:
    *above, last = place.split(".")
    for key in above:
        saved = saved[int(key) if isinstance(saved, list) or key.isdigit() else key]
    saved[last] = value


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("optimizer.param_groups.0.lr", "abc"),
        ("optimizer.param_groups.0.lr", float("nan")),
        ("optimizer.param_groups.0.betas", None),
        ("optimizer.state.0.exp_avg", torch.zeros(7)),
        ("optimizer.state.0.exp_avg", "x"),
        ("optimizer.state.0.exp_avg", torch.full((2, 4), float("nan"))),
        ("optimizer.state.0", {}),
        ("scheduler.step", "x"),
        ("scheduler.last_epoch", "x"),
        ("scheduler.T_max", 0),
        ("scheduler.optimizer", "x"),
        ("iteration", 10**30),
        ("iteration", 7),
        ("best", float("nan")),
        ("best_epoch", 9),
        ("best_network", {1: 2}),
        ("best_network", {"weight": torch.zeros(2, 4)}),
        ("network.weight", torch.full((2, 4), float("nan"))),
        ("network.weight", torch.zeros(2, 4, dtype=torch.complex64)),
        ("identity.seed", torch.zeros(2)),
        ("identity.seed", "x" * 10**6),
    ],
)
def test_a_checkpoint_that_would_be_tripped_over_later_is_refused(tmp_path: Path, place: str, value: Any) -> None:
    options = {"scores": [0.5, 0.2, 0.3, 0.4], "identity": {"seed": 0}}
    Training(tmp_path, **options).run(max_epochs=2)
    saved = content(tmp_path, "checkpoint.pt")
    change(saved, place, value)
    torch.save(saved, tmp_path / "checkpoint.pt")
    training = Training(tmp_path, **options)
    with pytest.raises(UserError, match=r"checkpoint\.pt: (is no checkpoint of this|belongs to a run)") as error:
        training.run()
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    assert training.steps == []


def test_a_checkpoint_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt: cannot be read"):
        Training(tmp_path).run()
