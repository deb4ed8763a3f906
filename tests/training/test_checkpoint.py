from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.training import checkpoint as module
from conemos_bundle.training.checkpoint import save_in_one_step
from ignite.engine import Events

from tests.training.small_training import EPOCH_LENGTH, Training, assert_equal, content


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
