"""Errors that a user can mend: shown as one line, without a traceback."""

from __future__ import annotations

import sys
from types import TracebackType


class UserError(ValueError):
    """A problem in what the user gave us. The message names the file and says what to do, in one line."""


def find_user_error(error: BaseException | None) -> UserError | None:
    """The `UserError` that caused ``error``, or None. MONAI's config parser and Ignite wrap the errors they meet."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, UserError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def show_user_errors_in_one_line() -> None:
    """Install an exception hook that prints a `UserError` as ``error: …``; other errors keep their traceback.

    `python -m monai.bundle run` has no hook of its own for that, so `initialize` of each config calls this first.
    """
    usual = sys.__excepthook__

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        user_error = find_user_error(error)
        if user_error is None:
            usual(kind, error, traceback)
        else:
            print(f"error: {user_error}", file=sys.stderr)

    sys.excepthook = hook
