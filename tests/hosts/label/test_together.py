"""Files of a served model that are replaced together, whenever the process is killed."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.hosts.label import together
from conemos_bundle.hosts.label.together import NEXT, of_one_model, replace_together

PLACES = ["configs/a.json", "models/b.pt", "models/c.json"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for place in PLACES:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("old")
    return tmp_path


def new(text: str = "new") -> dict[str, Callable[[Path], Any]]:
    return {place: lambda path: path.write_text(text) for place in PLACES}


def texts(model: Path) -> list[str]:
    return [(model / place).read_text() for place in PLACES]


def test_all_are_replaced_and_nothing_is_left(model: Path) -> None:
    replace_together(model, new())
    assert texts(model) == ["new"] * 3 and sorted(path.name for path in model.iterdir()) == ["configs", "models"]


def test_a_failure_while_they_are_written_leaves_the_old_ones(model: Path) -> None:
    def fails(path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_together(model, {**new(), PLACES[2]: fails})
    with of_one_model(model):
        assert texts(model) == ["old"] * 3
    assert not (model / NEXT).exists()


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_whoever_reads_next_finishes_what_was_killed(moved: int, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish, left = together.publish, [moved]

    def killed(part: Path, path: Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        publish(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(together, "publish", killed)
        patch.setattr(together, "shutil", types.SimpleNamespace(rmtree=lambda folder: killed(folder, folder)))
        with pytest.raises(KeyboardInterrupt):
            replace_together(model, new())
    assert texts(model) == ["new"] * moved + ["old"] * (3 - moved)
    with of_one_model(model):
        assert texts(model) == ["new"] * 3
    assert not (model / NEXT).exists()
    replace_together(model, new("newer"))
    assert texts(model) == ["newer"] * 3


def test_they_are_not_replaced_while_somebody_reads(model: Path) -> None:
    replacing = threading.Thread(target=replace_together, args=(model, new()))
    with of_one_model(model):
        replacing.start()
        replacing.join(0.3)
        assert replacing.is_alive() and texts(model) == ["old"] * 3
    replacing.join(10)
    assert texts(model) == ["new"] * 3
