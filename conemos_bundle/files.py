"""Files and folders that are there whole or not at all, whenever the process is killed, and one writer per folder.

What is not whole yet lies in a hidden folder ``.part-<host>-<process>-<number>`` beside its place, under its final
name: ITK and nibabel go by the extension, and torch writes the name into the file. A process that is killed leaves such
a folder behind; the next one that writes there removes it (`sweep`).
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

if os.name != "nt":
    import fcntl

from conemos_bundle.errors import OutputError, UserError
from conemos_bundle.utils.processes import host, runs, started
from filelock import FileLock, Timeout

LOCK = ".lock"
WEEK = 7 * 24 * 3600.0  # seconds
PART = ".part-"  # how the names of such folders begin
_PART = re.compile(r"\.part-(\w+)-(\d+)-\d+")
_KEPT = "; what was there before is kept; make room, or choose another folder, and start again"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # some network disks
_numbers = itertools.count()
_open: set[Path] = set()  # parts that this process is writing
_swept: set[Path] = set()


def write_in_one_step(path: str | os.PathLike[str], write: Callable[[Path], Any]) -> None:
    """Call ``write`` with a path elsewhere, then move the file: nobody sees half of it, a failure keeps the old one.

    Raises:
        OutputError: it cannot be written: the disk is full, read-only, …
    """
    path = Path(path)
    try:
        with part_folder(path.parent) as part:
            write(part / path.name)
            publish(part / path.name, path)
    except OSError as error:
        raise OutputError(f"{shown(path)}: cannot be written ({_reason(error)}){_KEPT}") from error
    except RuntimeError as error:  # torch's writer says no more than that; ask the disk
        reason = _why_unwritable(path.parent)
        if reason is None:
            raise
        raise OutputError(f"{shown(path)}: cannot be written ({reason}){_KEPT}") from error


@contextmanager
def folder_in_one_step(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder elsewhere to write into; it becomes ``path`` at the end, and is removed where an exception comes.

    Args:
        path: does not exist yet, or is an empty folder.

    Raises:
        UserError: another process of this machine is writing the same folder, or it is the working one.
        OutputError: it cannot be written, or ``path`` has come into being meanwhile.
    """
    path = Path(path).absolute()
    if path.is_dir() and path.samefile("."):  # the shell would stay behind in a folder that is gone
        raise UserError(f"{path}: you are in this folder, which a new one replaces; name one in it, or go out of it")
    try:
        with part_folder(path.parent) as part:
            new = part / path.name
            new.mkdir()
            if any((other / path.name).is_dir() for other in other_parts(part)):
                raise UserError(f"{path}: another process is writing it; wait for it, or choose another folder")
            yield new
            for folder, _, files in os.walk(new, topdown=False):
                for name in files:
                    _to_disk(Path(folder, name))
                _to_disk(Path(folder))
            if path.is_dir():
                path.rmdir()  # Windows replaces no folder, not even an empty one
            os.replace(new, path)
            _to_disk(path.parent)
    except OSError as error:
        raise OutputError(f"{shown(path)}: cannot be written ({_reason(error)}){_KEPT}") from error


@contextmanager
def part_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A hidden folder in ``folder``, which is made, for what is not whole yet; it is removed at the end.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not folder.is_dir():  # mkdir would say that it exists
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _swept:
        sweep(folder)
        _swept.add(folder)
    while True:
        part = folder / f"{PART}{host()}-{os.getpid()}-{next(_numbers)}"
        _open.add(part)
        try:
            part.mkdir(mode=0o700)  # slices of scans may be in it, in a folder that others can read
            break
        except FileExistsError:  # of an earlier process with the same number
            _open.discard(part)
        except BaseException:
            _open.discard(part)
            raise
    try:
        with _locked(part):
            yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)  # a read-only or lost disk: there is nothing to remove then
        _open.discard(part)


def other_parts(part: Path) -> list[Path]:
    """The parts beside ``part`` that others on this machine are writing."""
    return [other for other in _parts(part.parent) if other != part and _is_written(other)]


def publish(part: Path, path: Path) -> None:
    """Move a whole file to its place on the same disk, over what is there; a power failure loses neither.

    Raises:
        OSError: it cannot be moved.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _to_disk(part)
    os.replace(part, path)
    _to_disk(path.parent)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what processes that were killed have left in ``folder``.

    Whether a process of another machine is still writing cannot be known: its parts go after a week.
    """
    for part in _parts(Path(folder)):
        written = _is_written(part)
        if written is False or (written is None and time.time() - _changed(part) > WEEK):
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def one_writer(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes, and other threads, from writing into ``folder``, which is made, and sweep it.

    The file ``.lock`` in it stays, unless nothing else has come into the folder; that it is there says nothing. The
    system lets go of it when the process ends, however it ends.

    Raises:
        UserError: somebody else is writing there.
        OutputError: the folder cannot be made or written to.
    """
    folder = Path(folder).absolute()
    with ExitStack() as stack:
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                stack.callback(_remove_if_unused, folder)
            stack.enter_context(FileLock(folder / LOCK, timeout=0))
        except Timeout as error:
            raise UserError(
                f"{folder}: another process is writing there; wait for it to end, or choose another folder"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise OutputError(
                    f"{error.filename or folder}: cannot be written to ({error.strerror or error}); remove what is in "
                    "the way, or choose another folder"
                ) from error
        sweep(folder)
        yield


@contextmanager
def one_at_a_time(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder, which exists; nothing is left in it.

    Not on Windows, which locks no folder, nor on network disks without locks. A part of this process is its own anyway.
    """
    folder = Path(folder).absolute()
    with nullcontext() if folder in _open else _locked(folder):  # the same lock says that a part is being written
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    if os.name == "nt":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_locked(folder: Path) -> bool:
    if os.name == "nt":
        return False
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # it is gone
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a disk without locks
        return False
    finally:
        os.close(descriptor)
    return False


def _remove_if_unused(folder: Path) -> None:
    with suppress(OSError):
        if [entry.name for entry in os.scandir(folder)] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


def reject_unwritable(folder: str | os.PathLike[str]) -> None:
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


def _reason(error: OSError) -> str:
    """In a few words; shutil gives a list of all files that it could not copy, each with the same reason."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return re.sub(r"\[Errno \d+\] |: '.*", "", str(error.args[0][-1][-1]))
    return error.strerror or str(error)


def shown(path: str | os.PathLike[str]) -> str:
    """A path as users know it: where a file will lie, not the hidden folder that it is written in."""
    return str(Path(*(part for part in Path(path).parts if not _PART.fullmatch(part))))


def reject_no_room(folder: str | os.PathLike[str], size: int) -> None:
    """Before something is written by a library that ends the process where a disk is full.

    Raises:
        OutputError: a file of ``size`` bytes cannot be written there.
    """
    reason = _why_unwritable(Path(folder), size)
    if reason is not None:
        raise OutputError(f"{shown(folder)}: {size >> 20} MB cannot be written ({reason}){_KEPT}")


def _why_unwritable(folder: Path, size: int = 2**20) -> str | None:
    """Why a file of that size cannot be written into a folder; None where it can."""
    try:
        with part_folder(folder) as part:
            (part / "probe").write_bytes(bytes(size))
            _to_disk(part / "probe")
    except OSError as error:
        return error.strerror
    return None


def _to_disk(path: Path) -> None:
    """Have the disk take a file, or the names in a folder, now."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)


def _parts(folder: Path) -> list[Path]:
    with suppress(OSError):  # no such folder, or it cannot be read: nothing to see
        return [Path(entry.path) for entry in os.scandir(folder) if _PART.fullmatch(entry.name)]
    return []


def _is_written(part: Path) -> bool | None:
    """Whether somebody is still writing a part; None where it cannot be known."""
    machine, number = _PART.fullmatch(part.name).groups()  # type: ignore[union-attr]
    if machine != host():
        return None
    if int(number) == os.getpid():
        return part.absolute() in _open
    if _is_locked(part):  # whatever has been done to the clock
        return True
    # a later process may have got the number of one that has ended
    return runs(int(number)) and started(int(number)) < _changed(part) + 60


def _changed(part: Path) -> float:
    try:
        return part.stat().st_mtime
    except OSError:  # it is gone
        return 0.0
