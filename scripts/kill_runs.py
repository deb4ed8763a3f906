"""Run a command in a fork of this process, and kill it: of `kill_matrix.py` and `fault_matrix.py`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")  # a fork must not find threads that it has not
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import kill_hook  # noqa: E402
from conemos_bundle import cli  # noqa: E402, F401 (imported once, here: each command is a fork of this process)
from conemos_bundle.__main__ import main as conemos  # noqa: E402
from conemos_bundle.errors import run_command  # noqa: E402
from conemos_bundle.utils.processes import end_with_parent  # noqa: E402

PATIENCE = 300  # seconds for a command
GRACE = 10.0  # seconds for children to end


class Command(NamedTuple):
    """What is tried, in a folder of its own that is the working directory."""

    words: list[Any]  # of `conemos`
    copies: Mapping[str, Path] = MappingProxyType({})  # what lies in the folder before it starts
    grows: bool = False  # final files are replaced epoch by epoch
    differs: tuple[str, ...] = ()  # names of files whose content is another one each time
    dated: str | None = None  # what is below it has another name each time
    fraction: float = 1.0  # of the kills: fewer of what takes long
    function: Callable[[], Any] | None = None


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    told: str
    seconds: float
    orphans: list[str]


def prepared(command: Command, folder: Path) -> Path:
    """The folder as the command finds it."""
    folder.mkdir(parents=True)
    for name, source in command.copies.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return folder


def run(command: Command, folder: Path, after: float | None = None, number: int = signal.SIGKILL, **kill: Any) -> Ended:
    """Run a command in a fork of this process.

    Args:
        command: the command.
        folder: its working directory.
        after: seconds until it gets the signal ``number``.
        number: SIGINT goes to its group.
        kill: ``at``: number of the event at which it is killed; ``main``: it, not the process that the event is in.
    """
    output, temporary = folder.with_suffix(".out"), folder.with_suffix(".tmp")
    temporary.mkdir(exist_ok=True)
    count = folder.with_suffix(".events")
    count.unlink(missing_ok=True)
    output.write_text("")
    ready = os.pipe()
    harness, pid = os.getpid(), os.fork()
    if pid == 0:
        try:
            _in_fork(command, folder, output, temporary, count, ready[1], harness, **kill)
        finally:
            os._exit(99)
    os.close(ready[1])
    os.read(ready[0], 1)
    os.close(ready[0])
    begun, signalled = time.monotonic(), False
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        seconds = time.monotonic() - begun
        if after is not None and seconds >= after and not signalled:
            (os.killpg if number == signal.SIGINT else os.kill)(pid, number)
            signalled = True
        if seconds > PATIENCE:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.002)
    seconds, left, until = time.monotonic() - begun, processes_in(folder), time.monotonic() + GRACE
    while left and time.monotonic() < until:
        time.sleep(0.05)
        left = processes_in(folder)
    for orphan in left:
        os.kill(orphan, signal.SIGKILL)
    return Ended(os.waitstatus_to_exitcode(ended[1]), output.read_text(errors="replace"), seconds, list(left.values()))


def _in_fork(
    command: Command,
    folder: Path,
    output: Path,
    temporary: Path,
    count: Path,
    ready: int,
    harness: int,
    at: int = 0,
    main: bool = False,
) -> None:
    os.setsid()
    end_with_parent(harness)
    sys.modules["__main__"] = sys.modules["conemos_bundle.__main__"]  # what new interpreters begin with
    os.dup2(os.open(output, os.O_WRONLY), 1)
    os.dup2(1, 2)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    os.chdir(folder)
    os.environ.update(TMPDIR=str(temporary), KILL_ROOT=str(folder), KILL_AT=str(at), KILL_COUNT=str(count))
    os.environ["KILL_WHOM"] = str(os.getpid()) if main else ""
    tempfile.tempdir = None
    kill_hook.install()
    sys.argv = ["conemos", *map(str, command.words)]
    os.close(ready)
    run_command(command.function) if command.function else conemos()
    sys.stdout.flush()
    os._exit(0)


def processes_in(folder: Path) -> dict[int, str]:
    """The processes whose working directory is the folder, or in it, by number."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")[:200]
        except OSError:
            continue
    return {pid: words for pid, words in found.items() if words}  # a zombie has none


def hook_into_children(work: Path) -> None:
    """Have every Python process below a command count its events too."""
    hook = work / "hook"
    hook.mkdir(parents=True, exist_ok=True)
    (hook / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({str(ROOT / 'scripts')!r})\nimport kill_hook\nkill_hook.install()\n"
    )
    os.environ["PYTHONPATH"] = os.pathsep.join([str(hook), str(ROOT)])
