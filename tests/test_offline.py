"""No command fetches anything: data, weights and schemas are where the user put them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conemos_bundle.cli import evaluate, pack, predict, train
from monai.utils import set_determinism

ASKING = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"}
TINY = {
    "max_epochs": 1,
    "steps_per_epoch": 1,
    "channels": [2, 4],
    "patch_size": [16, 16, 16],
    "num_workers": 0,
    "device": torch.device("cpu"),
}
_asked: list[str] | None = None


def _note(event: str, arguments: tuple) -> None:
    if _asked is None or event not in ASKING:
        return
    if event == "socket.connect" and arguments[0].family == getattr(socket, "AF_UNIX", None):
        return  # this machine's own: workers of a data loader
    _asked.append(f"{event} {arguments[1:] if event == 'socket.connect' else arguments}")
    raise OSError("no network in this test")


sys.addaudithook(_note)  # for good, so it is switched by _asked


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What asked for the network; none gets it."""
    global _asked
    monkeypatch.setattr(sys, "path", sys.path.copy())  # trainings leave something there, and a hook
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    _asked = []
    yield _asked
    _asked = None
    set_determinism(None)


def test_the_guard_sees_who_asks(asked: list[str]) -> None:
    with pytest.raises(OSError, match="no network in this test"):
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    assert asked
    assert asked[0].startswith("socket.getaddrinfo")


def test_predict_and_pack(asked: list[str], run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    predict(str(tiny_dataset / "images" / "test_0.nii.gz"), model=str(run), output=str(tmp_path / "out"))
    pack(str(run), str(tmp_path / "packed"), archive=True, hugging_face=True)
    assert list((tmp_path / "out").iterdir()) and (tmp_path / "packed.zip").is_file()
    assert asked == []


def test_train_and_evaluate(asked: list[str], tiny_dataset: Path, tmp_path: Path) -> None:
    datalist, folder = str(tiny_dataset / "datalist.json"), tmp_path / "run"
    train(datalist, output_dir=str(folder), **TINY)
    evaluate(datalist, run=str(folder), device=torch.device("cpu"))
    assert (folder / "evaluation_test" / "summary.json").is_file()
    assert asked == []
