"""Errors that a user can mend: shown as one line, without a traceback."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NoReturn

MOST_LETTERS = 5000  # a path has up to 4096


def printable(text: str) -> str:
    """The text in one line that a terminal shows: a file's name may hold line breaks and control characters, and what
    a stranger's file holds may have a million letters."""
    if len(text) > MOST_LETTERS:
        text = f"{text[: MOST_LETTERS // 2]} … {text[-MOST_LETTERS // 4 :]}"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class UserError(ValueError):
    """A problem in what the user gave us. The message names the file and says what to do, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class UsageError(UserError):
    """What was typed is wrong: an option, a region, an overlay, a file that is not there. Nothing has been done."""


class OutputError(UserError):
    """Results cannot be written: with the next scan it would be no better."""


# a DataLoader raises what went wrong in one of its processes with the traceback as its message
_IN_A_TRACEBACK = re.compile(r"^(?:conemos_bundle\.errors\.)?UserError: (.+)$", re.MULTILINE)


def find_user_error(error: BaseException | None) -> UserError | None:
    """The `UserError` behind ``error``, or None: MONAI's parser and transforms, Ignite and data loaders wrap them.

    What the machine refuses (`system_error`) is a user's to mend too.
    """
    chain: list[BaseException] = []
    while error is not None and all(error is not seen for seen in chain):
        chain.append(error)
        error = error.__cause__ or error.__context__
    for each in chain:
        told = _IN_A_TRACEBACK.search(str(each))
        if told:
            return UserError(told[1])
        if isinstance(each, UserError):
            return each
    return next((found for each in chain if (found := system_error(each)) is not None), None)


_MEMORY = "pass a smaller --batch_size or --most_voxels, or --num_workers 0; prediction: --mode window"
_SHARED = (
    "shared memory (/dev/shm) is too small for the processes that load scans; pass --num_workers 0, or give it more "
    "(docker run --shm-size 2g)"
)
_SYSTEM: list[tuple[str, str]] = [  # what torch, ITK and the system say; the first that fits counts
    (r"[Bb]us error|/torch_\w+|shared memory|/dev/shm", _SHARED),
    (
        r"DataLoader worker \(pid.*(killed by signal|exited unexpectedly)",
        "a process that loads scans was ended by the system, most often because memory is full; pass a smaller "
        "--num_workers (0: none), or --cache disk",
    ),
    (
        r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED",
        f"the GPU's memory is full; {_MEMORY}",
    ),
    (
        r"can't allocate memory|[Cc]annot allocate memory|not enough memory|bad_alloc|bad allocation|"
        r"Unable to allocate|Failed to allocate memory",
        f"memory is full; {_MEMORY}",
    ),
    (
        r"unexpected pos \d+ vs|PytorchStreamWriter failed",
        "weights cannot be written whole: the disk is full, or files may not be so large (ulimit -f); make room or "
        "choose another folder, and start again",
    ),
    (
        r"items of ancdata|Too many open files|can't start new thread",
        "the system's limits are too low: see 'ulimit -a'",
    ),
]
_OF_DISK = {  # not ENOENT: which file is missing, and whose mistake it is, those who read it know
    getattr(errno, name)
    for name in (
        "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EFBIG", "EIO", "ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG",
        "ESTALE", "ENODEV", "ENXIO",
    )
    if hasattr(errno, name)
}  # fmt: skip
_ERRNO = re.compile(r"\[Errno (\d+)\] ([^:\n\"']+)(?:: '([^'\n]+)')?")


def system_error(error: BaseException) -> UserError | None:
    """What the machine refuses (disk, permission, memory, shared memory) in a user's words; None for other errors."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and _in_multiprocessing(error):
        return UserError(_SHARED)
    if isinstance(error, OSError) and error.errno in _OF_DISK:
        return _disk_error(error.strerror or str(error), error.filename2 or error.filename)
    if isinstance(error, BrokenPipeError):
        return OutputError("what reads the printed lines has ended, and so does this; run it again to go on")
    if isinstance(error, MemoryError):
        return UserError(f"memory is full; {_MEMORY}")
    if not isinstance(error, RuntimeError | OSError):
        return None
    text = str(error)
    for pattern, told in _SYSTEM:
        if re.search(pattern, text):
            return UserError(told)
    inner = _ERRNO.search(text)  # the traceback of a data loader's process, or a list of what shutil could not copy
    return _disk_error(inner[2], inner[3]) if inner and int(inner[1]) in _OF_DISK else None


def _in_multiprocessing(error: BaseException) -> bool:
    """Whether it was raised where processes are started: locks and tensors that they share lie in /dev/shm."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "multiprocessing" in frames[-1].filename


def _disk_error(reason: str, file: object) -> OutputError:
    place = f"{os.fsdecode(file) if isinstance(file, bytes) else file}" if file else "a file cannot be written"
    return OutputError(
        f"{place}: {reason}; make room or choose another folder, and start again: what was done before is kept"
    )


def exit_with(error: UserError) -> NoReturn:
    """Print ``error: …`` and end the process, with exit code 2 where the command line is wrong, else 1.

    At once: threads of MONAI's cache may still be reading scans, and an orderly exit can abort in them.
    """
    _end(f"error: {error}", 2 if isinstance(error, UsageError) else 1)


def exit_interrupted() -> NoReturn:
    """Print one line and end the process with exit code 130, as a shell expects it after Ctrl-C."""
    _end("error: interrupted; run the same command again to go on", 130)


def _end(line: str, code: int) -> NoReturn:
    # nobody reads it any more, its disk is full, or it was closed before this started (ValueError, AttributeError)
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with suppress(OSError, ValueError, AttributeError):
        print(line, file=sys.stderr, flush=True)
    os._exit(code)


def _lost_folder() -> UserError | None:
    try:
        os.getcwd()
    except OSError:
        return UserError("the folder that this was started in is gone; change to another one")
    return None


def run_command(command: Callable[[], object]) -> None:
    """Run a command; a user's error is one line on stderr and exit code 1, other errors keep their traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that a terminal cannot show
    threading.excepthook = _forget_what_the_machine_refuses
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback
    try:
        command()
    except Exception as error:
        user_error = find_user_error(error) or _lost_folder()
        if user_error is None:
            raise
        exit_with(user_error)
    except KeyboardInterrupt:
        exit_interrupted()


def _forget_what_the_machine_refuses(args: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread: a full disk ends the training with one line, not with that thread's traceback."""
    if args.exc_value is None or system_error(args.exc_value) is None:
        threading.__excepthook__(args)


def show_user_errors_in_one_line() -> None:
    """Install an exception hook that shows a `UserError` as one line; other errors keep their traceback.

    `python -m monai.bundle run` has no hook of its own for that, so `initialize` of each config calls this first.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            exit_interrupted()
        user_error = find_user_error(error)
        if user_error is not None:
            exit_with(user_error)
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook
    threading.excepthook = _forget_what_the_machine_refuses
