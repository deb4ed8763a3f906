"""Errors that a user can mend: shown as one line, without a traceback."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn


class UserError(ValueError):
    """A problem in what the user gave us. The message names the file and says what to do, in one line."""


class OutputError(UserError):
    """Results cannot be written: with the next scan it would be no better."""


# a DataLoader raises what went wrong in one of its processes with the traceback as its message
_IN_A_TRACEBACK = re.compile(r"^(?:conemos_bundle\.errors\.)?UserError: (.+)$", re.MULTILINE)


def find_user_error(error: BaseException | None) -> UserError | None:
    """The `UserError` behind ``error``, or None: MONAI's parser and transforms, Ignite and data loaders wrap them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        told = _IN_A_TRACEBACK.search(str(error))
        if told:
            return UserError(told[1])
        if isinstance(error, UserError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def exit_with(error: UserError) -> NoReturn:
    """Print ``error: …`` and end the process with exit code 1.

    At once: threads of MONAI's cache may still be reading scans, and an orderly exit can abort in them.
    """
    sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def run_command(command: Callable[[], object]) -> None:
    """Run a command; a user's error is one line on stderr and exit code 1, other errors keep their traceback."""
    try:
        command()
    except Exception as error:
        user_error = find_user_error(error)
        if user_error is None:
            raise
        exit_with(user_error)
    except KeyboardInterrupt:
        sys.exit("error: interrupted")


def show_user_errors_in_one_line() -> None:
    """Install an exception hook that shows a `UserError` as one line; other errors keep their traceback.

    `python -m monai.bundle run` has no hook of its own for that, so `initialize` of each config calls this first.
    """

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        user_error = find_user_error(error)
        if user_error is not None:
            exit_with(user_error)
        sys.__excepthook__(kind, error, traceback)

    sys.excepthook = hook
