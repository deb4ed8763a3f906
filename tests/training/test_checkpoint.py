from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.training import checkpoint as module
from conemos_bundle.training.checkpoint import Checkpoint, save_in_one_step
from ignite.engine import Engine, Events

EPOCH_LENGTH = 3


class Training:
    """A linear model, Adam and a schedule, with data that depend on the step alone; ``scores`` are its validation."""

    def __init__(self, folder: Path, scores: list[float] | None = None, **options: Any) -> None:
        torch.manual_seed(0)
        self.network = torch.nn.Linear(4, 2)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=4 * EPOCH_LENGTH)
        self.trainer = Engine(self.step)
        self.steps: list[int] = []
        self.rates: list[float] = []
        evaluator = None
        if scores is not None:
            evaluator = Engine(lambda engine, batch: None)
            self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self.validate, evaluator, scores)
        self.handler = Checkpoint(
            str(folder), self.network, self.optimizer, self.scheduler, evaluator, metric="dice", **options
        )
        self.handler.attach(self.trainer)

    def step(self, engine: Engine, batch: int) -> None:
        data = torch.randn(8, 4, generator=torch.Generator().manual_seed(engine.state.iteration))
        self.steps.append(engine.state.iteration)
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.optimizer.zero_grad()
        (self.network(data) - data[:, :2] ** 2).square().mean().backward()
        self.optimizer.step()
        self.scheduler.step()

    def validate(self, trainer: Engine, evaluator: Engine, scores: list[float]) -> None:
        evaluator.state.epoch = trainer.state.epoch  # as MONAI's ValidationHandler does
        evaluator.state.metrics = {"dice": scores[trainer.state.epoch - 1]}

    def run(self, max_epochs: int = 4) -> Training:
        self.trainer.run(range(EPOCH_LENGTH), max_epochs=max_epochs)
        return self


def content(folder: Path, name: str) -> Any:
    return torch.load(folder / name, weights_only=True)


def assert_equal(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        assert a == b


def interrupt(folder: Path, after: int, scores: list[float] | None = None) -> None:
    """A training that breaks down in the first step after epoch ``after``."""
    training = Training(folder, scores)

    @training.trainer.on(Events.ITERATION_STARTED(once=after * EPOCH_LENGTH + 1))
    def break_down() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run()


@pytest.mark.parametrize("scores", [None, [0.1, 0.4, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.3, 0.4]])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_and_resumed_training_is_one_never_interrupted(
    tmp_path: Path, after: int, scores: list[float] | None
) -> None:
    whole = Training(tmp_path / "whole", scores).run()
    interrupt(tmp_path / "parts", after, scores)
    resumed = Training(tmp_path / "parts", scores).run()
    assert resumed.steps == list(range(after * EPOCH_LENGTH + 1, 4 * EPOCH_LENGTH + 1))
    assert resumed.rates == whole.rates[after * EPOCH_LENGTH :]
    assert_equal(resumed.network.state_dict(), whole.network.state_dict())
    for name in ("checkpoint.pt", "model.pt"):
        assert_equal(content(tmp_path / "parts", name), content(tmp_path / "whole", name))
    assert sorted(file.name for file in (tmp_path / "parts").iterdir()) == ["checkpoint.pt", "model.pt"]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.NAdam])
def test_any_optimizer_of_torch_goes_on(kind: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    def training() -> Training:
        made = Training(tmp_path)
        made.optimizer = kind(made.network.parameters(), lr=0.1)  # type: ignore[call-arg]
        made.scheduler = torch.optim.lr_scheduler.ConstantLR(made.optimizer)
        made.handler.optimizer, made.handler.scheduler = made.optimizer, made.scheduler
        return made

    training().run(2)
    assert training().run(3).steps == list(range(2 * EPOCH_LENGTH + 1, 3 * EPOCH_LENGTH + 1))


def test_without_resume_a_model_alone_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"merged")
    with pytest.raises(UserError, match=r"model.pt: exists; pass another --output_dir"):
        Training(tmp_path, resume=False).run()
    assert (tmp_path / "model.pt").read_bytes() == b"merged"


def test_the_model_is_that_of_the_best_epoch(tmp_path: Path) -> None:
    scores = [0.1, 0.4, 0.4, 0.2]
    Training(tmp_path / "all", scores).run()
    two = Training(tmp_path / "two", scores).run(max_epochs=2)
    assert_equal(content(tmp_path / "all", "model.pt"), dict(two.network.state_dict()))
    checkpoint = content(tmp_path / "all", "checkpoint.pt")
    assert (checkpoint["best"], checkpoint["best_epoch"], checkpoint["epoch"]) == (0.4, 2, 4)


def test_the_best_score_survives_a_resume(tmp_path: Path) -> None:
    scores = [0.1, 0.9, 0.3, 0.4]
    interrupt(tmp_path, 2, scores)
    best = content(tmp_path, "model.pt")
    resumed = Training(tmp_path, scores).run()
    assert (resumed.handler.best, resumed.handler.best_epoch) == (0.9, 2)
    assert_equal(content(tmp_path, "model.pt"), best)
    with pytest.raises(AssertionError):
        assert_equal(best, dict(resumed.network.state_dict()))


def test_without_validation_the_model_is_that_of_the_last_epoch(tmp_path: Path) -> None:
    training = Training(tmp_path).run()
    assert_equal(content(tmp_path, "model.pt"), dict(training.network.state_dict()))


@pytest.mark.parametrize("scores", [[float("nan")] * 4, [0.3, float("nan"), float("nan"), float("nan")]])
def test_a_validation_without_any_value_decides_nothing(tmp_path: Path, scores: list[float]) -> None:
    Training(tmp_path / "all", scores).run()
    last = 1 if scores[0] == scores[0] else 4
    expected = Training(tmp_path / "part", scores).run(max_epochs=last).network.state_dict()
    assert_equal(content(tmp_path / "all", "model.pt"), dict(expected))


def test_a_finished_training_is_not_trained_further(tmp_path: Path) -> None:
    finished = Training(tmp_path).run()
    again = Training(tmp_path)
    again.run()
    assert again.steps == []
    assert_equal(again.network.state_dict(), finished.network.state_dict())


def test_a_longer_training_goes_on(tmp_path: Path) -> None:
    Training(tmp_path).run(max_epochs=2)
    assert Training(tmp_path).run(max_epochs=3).steps == [7, 8, 9]


def test_another_run_is_refused(tmp_path: Path) -> None:
    Training(tmp_path, identity={"datalist": "abc", "seed": 0}).run(max_epochs=1)
    for changed, message in (
        ({"datalist": "xyz", "seed": 0}, r"other datalist \(abc, now xyz\)"),
        ({"datalist": "abc", "seed": 1}, r"other seed \(0, now 1\)"),
        ({"datalist": "abc", "seed": 0, "batch_size": 2}, r"other batch_size \(None, now 2\)"),
    ):
        before = content(tmp_path, "checkpoint.pt")
        with pytest.raises(UserError, match=rf"checkpoint\.pt: belongs to a run with {message}; pass another --output"):
            Training(tmp_path, identity=changed).run()
        assert_equal(content(tmp_path, "checkpoint.pt"), before)
    assert Training(tmp_path, identity={"datalist": "abc", "seed": 0}).run(max_epochs=2).steps == [4, 5, 6]


def test_without_resume_nothing_is_overwritten(tmp_path: Path) -> None:
    Training(tmp_path).run(max_epochs=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(UserError, match=r"checkpoint\.pt: exists; pass another --output_dir, or --resume True"):
        Training(tmp_path, resume=False).run()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    Training(tmp_path / "new", resume=False).run(max_epochs=1)


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


def test_whoever_is_killed_while_saving_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_in_one_step({"epoch": 1}, tmp_path / "checkpoint.pt")

    def half(content: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module.torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        save_in_one_step({"epoch": 2}, tmp_path / "checkpoint.pt")
    assert content(tmp_path, "checkpoint.pt") == {"epoch": 1}


@pytest.mark.parametrize("file", ["model.pt", "checkpoint.pt"])
def test_killed_between_the_two_files_the_epoch_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    scores = [0.1, 0.2, 0.3, 0.4]
    Training(tmp_path / "whole", scores).run()
    killed = Training(tmp_path / "parts", scores)
    save = module.save_in_one_step

    def die(content: Any, path: Path) -> None:
        if killed.trainer.state.epoch == 2 and path.name == file:
            raise KeyboardInterrupt
        save(content, path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_in_one_step", die)
        with pytest.raises(KeyboardInterrupt):
            killed.run()
    assert Training(tmp_path / "parts", scores).run().steps == list(range(EPOCH_LENGTH + 1, 4 * EPOCH_LENGTH + 1))
    for name in ("checkpoint.pt", "model.pt"):
        assert_equal(content(tmp_path / "parts", name), content(tmp_path / "whole", name))


def test_other_modules_come_back_too(tmp_path: Path) -> None:
    teacher, again = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    Training(tmp_path, also={"teacher": teacher}).run(2)
    Training(tmp_path, also={"teacher": again}).run(2)
    assert_equal(dict(teacher.state_dict()), dict(again.state_dict()))


@pytest.mark.parametrize("scores", [None, [0.1, 0.4, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4]])
@pytest.mark.parametrize("damage", ["lost", "cut", "other"])
def test_a_damaged_model_is_written_again(tmp_path: Path, damage: str, scores: list[float] | None) -> None:
    Training(tmp_path, scores).run()
    file, whole = tmp_path / "model.pt", content(tmp_path, "model.pt")
    interrupt(tmp_path / "cut", 3, scores)
    for folder in (tmp_path, tmp_path / "cut"):
        file = folder / "model.pt"
        {
            "lost": file.unlink,
            "cut": lambda file=file: file.write_bytes(file.read_bytes()[:100]),
            "other": lambda file=file: file.write_text("[1, 2]"),
        }[damage]()
        Training(folder, scores).run()
        assert_equal(content(folder, "model.pt"), whole)


def test_a_checkpoint_without_the_best_weights(tmp_path: Path) -> None:
    """As an earlier version wrote it: of a later epoch than the best one."""
    Training(tmp_path, [0.1, 0.4, 0.3, 0.2]).run()
    saved = content(tmp_path, "checkpoint.pt")
    assert saved.pop("best_network") is not None
    torch.save(saved, tmp_path / "checkpoint.pt")
    (tmp_path / "model.pt").unlink()
    with pytest.raises(
        UserError, match=r"model.pt: cannot be read, and .*checkpoint.pt does not hold the best epoch's"
    ):
        Training(tmp_path, [0.1, 0.4, 0.3, 0.2]).run()
    Training(tmp_path, [0.1, 0.4, 0.3, 0.2, 0.1]).run(max_epochs=5)  # there the fifth is the best that can be had
    assert_equal(content(tmp_path, "model.pt"), content(tmp_path, "checkpoint.pt")["network"])


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
