"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from conemos_bundle.errors import OutputError


def write_in_one_step(path: str | os.PathLike[str], write: Callable[[Path], Any]) -> None:
    """Call ``write`` with a path beside ``path``, then rename: nobody sees half a file, a failure keeps the old.

    Raises:
        OutputError: it cannot be written: the disk is full, read-only, …
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}){_KEPT}") from error
    except RuntimeError as error:  # torch's writer says no more than that; ask the disk
        reason = _why_unwritable(path)
        if reason is None:
            raise
        raise OutputError(f"{path}: cannot be written ({reason}){_KEPT}") from error
    finally:
        with suppress(OSError):  # a read-only or lost disk: there is nothing to remove then
            part.unlink(missing_ok=True)


_KEPT = "; what was there before is kept; make room, or choose another folder, and start again"


def _why_unwritable(path: Path) -> str | None:
    """Why a megabyte cannot be written beside ``path``; None where it can."""
    probe = path.with_name(path.name + ".probe")
    try:
        with probe.open("wb") as file:
            file.write(bytes(2**20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return None


def refuse_unwritable(folder: str | os.PathLike[str]) -> None:
    """Before hours of work: whether files can be made in a folder, which need not exist yet. Nothing is made.

    Raises:
        OutputError: it is a file or below one, or there is no permission, or the disk is read-only.
    """
    place = Path(folder).expanduser().absolute()
    while not place.exists() and not place.is_symlink() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise OutputError(f"{folder}: cannot be made: {place} is not a folder; choose another one")
    if not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: cannot be written to (no permission, or a read-only disk); choose another one")
