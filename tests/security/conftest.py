"""What a stranger may write into a file: code that would leave a mark, and names that would lead out of a folder."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that an attack makes; at the end, none may have been made, nor anything else outside of ``room``."""
    (tmp_path / "room").mkdir()
    monkeypatch.chdir(tmp_path / "room")
    yield tmp_path / "mark"
    assert [file.name for file in tmp_path.iterdir()] == ["room"]


@pytest.fixture
def room(mark: Path) -> Path:
    """Where files may be written."""
    return mark.parent / "room"


@pytest.fixture
def target(mark: Path) -> dict[str, Any]:
    """What MONAI's parser would call."""
    return {"_target_": "os.system", "command": f"touch {mark}"}


@pytest.fixture
def expression(mark: Path) -> str:
    """What MONAI's parser would evaluate."""
    return f"$__import__('os').system('touch {mark}')"


class Pickled:
    """What pickle would call."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.mark,)


@pytest.fixture
def pickled(mark: Path) -> Pickled:
    """An object that makes the mark when it is loaded."""
    pickle.loads(pickle.dumps(Pickled(mark)))  # the attack works on what this line itself made, nothing from elsewhere
    os.rmdir(mark)
    return Pickled(mark)


@pytest.fixture
def sent(run: Path, room: Path) -> Path:
    """A finished run that a stranger sent."""
    shutil.copytree(run, room / "sent")
    return room / "sent"
