"""What the machine refuses becomes one line; programming errors keep their traceback."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conemos_bundle.errors import OutputError, UserError, find_user_error
from torch.utils.data import DataLoader, Dataset

IN_A_WORKER = "Caught OSError in DataLoader worker process 0.\nTraceback (most recent call last):\n"


def caught(action: Any) -> BaseException:
    try:
        action()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: No space left on device; make room"),
        (OSError(errno.EROFS, "Read-only file system"), "a file cannot be written: Read-only file system"),
        (OSError(errno.ENOSPC, "No space left on device", "from", None, "/to"), "/to: No space left on device"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied"),
        (MemoryError(), "memory is full"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), "memory is full"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "the GPU's memory is full"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that"), "/dev/shm"),
        (RuntimeError("unable to write to file </torch_12_34_0>: No space left on device (28)"), "/dev/shm"),
        (RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"), "was ended by the system"),
        (RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed."), "was ended by the system"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -a"),
        (OSError(f"{IN_A_WORKER}OSError: [Errno 28] No space left on device: '/c/x.pt'\n"), "/c/x.pt: No space left"),
    ],
)  # fmt: skip
def test_one_line(error: BaseException, words: str) -> None:
    outer = RuntimeError("Failed to evaluate")
    outer.__cause__ = error
    for wrapped in (error, outer):
        found = find_user_error(wrapped)
        assert isinstance(found, UserError)
        assert words in str(found) and "\n" not in str(found)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (4) must match the size of tensor b (5)"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        ValueError("No space left on device"),
        KeyError("memory"),
        OSError("a bug"),
        AssertionError(),
    ],
)
def test_other_errors_keep_their_traceback(error: BaseException) -> None:
    assert find_user_error(error) is None


def test_what_a_user_can_mend_comes_first() -> None:
    outer = OSError(errno.EIO, "Input/output error", "x")
    outer.__cause__ = UserError("a.nii: mend it")
    assert str(find_user_error(outer)) == "a.nii: mend it"


def test_real_ones() -> None:
    assert "memory is full" in str(find_user_error(caught(lambda: np.zeros(2**60, np.uint8))))
    assert "memory is full" in str(find_user_error(caught(lambda: torch.zeros(2**50))))
    full = find_user_error(caught(lambda: os.write(os.open("/dev/full", os.O_WRONLY), b"x")))
    assert isinstance(full, OutputError) and "No space left on device" in str(full)


class Dies(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), 9)
        return index


class Full(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/c/x.pt")


def told(data: Dataset) -> str:
    loader = DataLoader(data, num_workers=1, multiprocessing_context=multiprocessing.get_context("fork"))
    return str(find_user_error(caught(lambda: list(loader))))


@pytest.mark.parametrize(("data", "words"), [("Dies", "was ended by the system"), ("Full", "No space left on device")])
def test_a_process_of_a_real_data_loader(data: str, words: str) -> None:
    """In a process of its own: PyTorch raises in its main thread when the loader's process ends, now or later."""
    code = f"from tests.test_system_errors import {data}, told; print(told({data}()))"
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert words in done.stdout, done.stderr
