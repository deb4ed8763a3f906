"""Which processes run, and child processes that never outlive the one that they work for, however it ends."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ENDS_WITH = "CONEMOS_ENDS_WITH"
NO_MODULES_OF_WORKING_DIRECTORY = {"PYTHONSAFEPATH": "1"}  # which may be a stranger's; from Python 3.11 on
_EVERY = 0.25  # seconds
_forking = 0  # number of the process that forks
_SET_PARENT_DEATH_SIGNAL = 1  # Linux's <sys/prctl.h>


def host() -> str:
    """This machine, and where numbers of processes are its own: a container may have the machine's name."""
    with suppress(OSError):
        return re.sub(r"\W+", "_", f"{socket.gethostname()[:32]} {os.readlink('/proc/self/ns/pid')}").strip("_")
    return re.sub(r"\W+", "_", socket.gethostname())[:32] or "host"


def started(pid: int) -> float:
    """When a process began, in seconds since 1970 by today's clock; 0 where the system does not say."""
    try:
        boot = re.search(r"btime (\d+)", Path("/proc/stat").read_text(encoding="utf-8"))
    except OSError:
        return 0.0
    return int(boot[1]) + _ticks(pid) / os.sysconf("SC_CLK_TCK") if boot and _ticks(pid) else 0.0


def _ticks(pid: int) -> int:
    """When a process began, in ticks since the machine did: with its number, that tells it from all others."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def runs(pid: int) -> bool | None:
    """Whether a process of this machine runs; None where asking would end it (Windows)."""
    if os.name == "nt":
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def end_with_parent(parent: int) -> None:
    """End this process when its parent ends: at once on Linux, else within moments.

    Args:
        parent: number of the process that started this one, which may have ended since.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    else:
        _end_when(lambda: os.getppid() != parent)


def forks_end_with_us() -> None:
    """`end_with_parent` in each process that this one forks from now on, such as those that load scans.

    For commands, not for a library: on Linux such a process ends with the thread that forked it.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_note_parent, after_in_child=lambda: end_with_parent(_forking))


def _note_parent() -> None:
    global _forking
    _forking = os.getpid()


def start_worker(parent: int) -> None:
    """The first that a process of a pool does: here, since other modules take seconds to import.

    Ctrl-C reaches all processes, and the parent tells of it.

    Args:
        parent: see `end_with_parent`.
    """
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def commands_end_with_us() -> dict[str, str]:
    """What to add to the environment of a process so that the commands `conemos` below it end with this process."""
    return {ENDS_WITH: f"{host()} {os.getpid()} {_ticks(os.getpid())}"}


def end_with_command() -> None:
    """End this process when the one ends that `commands_end_with_us` was called in, if it was on this machine."""
    machine, _, which = os.environ.get(ENDS_WITH, "").partition(" ")
    if machine == host():
        pid, since = map(int, which.split())
        _end_when(lambda: runs(pid) is False or _ticks(pid) != since)


def _end_when(over: Callable[[], bool]) -> None:
    def watch() -> None:
        while not over():
            time.sleep(_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="ends with another process").start()
