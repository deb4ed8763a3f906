"""Run each command on a machine with one fault, and see whether it ends as a user would want.

    sudo python scripts/fault_matrix.py WORK [--faults full_disk,read_only] [--commands train,pack] [--table faults.csv]

WORK is a folder for the fixtures, which a later call uses again, and for the trials. Linux; as root, since disks are
mounted. PASS is

- exit code 0, and all results there and whole; or
- exit code 1, the last line on stderr ``error: …``, no other such line, no traceback, nothing printed by libraries; no
  final file cut, and none of those that were there before changed.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from kill_commands import all_commands, fixtures, training
from kill_contents import NOT_OURS, contents, final
from kill_runs import Command, conemos, prepared

PATIENCE = 180  # seconds
SLOW = ("experiments", "predict folder", "phantom workers", "label server training")
# lines of our own log, and bars of progress
OURS = re.compile(r"\d{4}-\d\d-\d\d \S+ - .*(INFO|WARNING)|.*\d+%\||.*it/s|\s*$|Loading dataset")


class Fault:
    """What is wrong: with the disk before the command starts (``disk``), or with the process (``process``)."""

    def __init__(self, disk: Callable[[Path], None] | None = None, process: Callable[[], None] | None = None) -> None:
        self.disk = disk
        self.process = process


def fill(folder: Path, left: int) -> None:
    """Leave so many bytes on the disk."""
    free = shutil.disk_usage(folder).free
    with (folder / ".fill").open("wb") as file:
        file.write(bytes(max(0, free - left)))


def use_inodes(folder: Path) -> None:
    """Leave two files."""
    number = 0
    try:
        while True:
            (folder / f".inode{number}").touch()
            number += 1
    except OSError:
        for last in (number - 1, number - 2):
            (folder / f".inode{last}").unlink()


def take_names(folder: Path) -> None:
    """Put a file, or for a file a folder, where results would go."""
    for name in ("out", "run", "bundle", "phantom", "report", "app"):
        if not (folder / name).exists():
            (folder / name).write_text("precious")
    (folder / "datalist.json").mkdir()


def limit(kind: int, value: int) -> Callable[[], None]:
    """A limit of the process."""
    return lambda: resource.setrlimit(kind, (value, value))


def limit_memory() -> None:
    """As much as the process has, and 32 MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**25,) * 2)


def be_nobody() -> None:
    """A user who owns nothing here."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def close_output() -> None:
    """Nobody reads what is printed."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115


def write_ascii() -> None:
    """A terminal that shows English alone."""
    sys.stdout = open(1, "w", buffering=1, encoding="ascii", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="ascii", closefd=False)  # noqa: SIM115


def lose_folder() -> None:
    """The working directory is removed by somebody else."""
    shutil.rmtree(Path.cwd())


def small_shared_memory() -> None:
    """/dev/shm of one page, for this process and its children."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x20000):  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", "size=4k", "tmpfs", "/dev/shm"]):
        subprocess.run(["mount", *words], check=True)


def no_temporary_folder() -> None:
    """TMPDIR names none."""
    os.environ["TMPDIR"] = tempfile.tempdir = "/nowhere"


FAULTS = {
    "full_disk": Fault(disk=lambda folder: fill(folder, 0)),
    "disk_with_8_kB": Fault(disk=lambda folder: fill(folder, 8192)),
    "disk_with_100_kB": Fault(disk=lambda folder: fill(folder, 102400)),
    "two_files_left": Fault(disk=use_inodes),
    "read_only": Fault(disk=lambda folder: subprocess.run(["mount", "-o", "remount,ro", folder], check=True) and None),
    "files_of_1_kB": Fault(process=limit(resource.RLIMIT_FSIZE, 1024)),
    "files_of_60_kB": Fault(process=limit(resource.RLIMIT_FSIZE, 61440)),
    "no_permission": Fault(disk=lambda folder: folder.chmod(0o555), process=be_nobody),
    "name_taken": Fault(disk=take_names),
    "no_memory": Fault(process=limit_memory),
    "few_open_files": Fault(process=limit(resource.RLIMIT_NOFILE, 14)),
    "output_closed": Fault(process=close_output),
    "ascii_terminal": Fault(process=write_ascii),
    "folder_lost": Fault(process=lose_folder),
    "small_shared_memory": Fault(process=small_shared_memory),
    "no_temporary_folder": Fault(process=no_temporary_folder),
}


def run(command: Command, folder: Path, fault: Fault | None) -> tuple[int, str]:
    """Exit code and what was printed as errors, of a command in a fork of this process."""
    told = Path(f"{folder}.err")
    told.touch()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(os.open(f"{folder}.out", os.O_CREAT | os.O_WRONLY), 1)
            os.dup2(os.open(told, os.O_WRONLY), 2)
            sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
            os.chdir(folder)
            sys.argv = ["conemos", *map(str, command.words)]
            if fault is not None and fault.process is not None:
                fault.process()
            conemos()
            sys.stdout.flush()
            os._exit(0)
        except SystemExit as error:
            os._exit(error.code if isinstance(error.code, int) else 1)
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            os._exit(1)
        finally:
            os._exit(99)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(pid, signal.SIGKILL))
    signal.alarm(PATIENCE)
    _, status = os.waitpid(pid, 0)
    signal.alarm(0)
    text = told.read_text(errors="replace")
    for suffix in (".err", ".out"):
        Path(f"{folder}{suffix}").unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status), text


def judge(code: int, told: str, before: dict[str, str], found: dict[str, str], wanted: dict[str, str]) -> str:
    """What is wrong; empty: PASS."""
    lines = [line for line in told.splitlines() if "nvimgcodec" not in line.lower() and "nvImageCodec" not in line]
    broken = [name for name, content in found.items() if content.startswith("BROKEN") and name in wanted]
    if broken:
        return f"cut: {broken[0]}"
    if code == 0:
        missing = [name for name in final(wanted) if name not in found]
        return f"exit code 0 without {missing[0]}" if missing else ""
    if code != 1:
        return f"exit code {code}"
    if "Traceback" in told:
        return "traceback"
    errors = [line for line in lines if line.startswith("error: ")]
    if len(errors) != 1 or lines[-1] != errors[0]:
        return f"{len(errors)} lines of errors"
    noise = [line for line in lines if line != errors[0] and not OURS.match(line)]
    if noise:
        return f"printed too: {noise[0][:80]}"
    changed = [
        name for name, content in before.items() if name in wanted and found.get(name) not in (content, wanted[name])
    ]
    return f"changed: {changed[0]}" if changed and found else ""


def trial(name: str, command: Command, fault: Fault, work: Path, wanted: dict[str, str]) -> dict[str, str]:
    """One cell of the table."""
    folder = work / "t\u00e9st"
    shutil.rmtree(folder, ignore_errors=True)
    if fault.disk is not None:
        folder.mkdir()
        options = "size=64m,nr_inodes=400"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        prepared(command._replace(copies={}), folder / "x") if fault.disk is None else None
        place = folder / "x" if fault.disk is None else folder
        for target, source in command.copies.items():
            (place / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, place / target) if source.is_dir() else shutil.copy(source, place / target)
        before = contents(place)
        if fault.disk is not None:
            fault.disk(place)
        code, told = run(command, place, fault)
        found = contents(place) if place.exists() else {}
    finally:
        if fault.disk is not None:
            subprocess.run(["umount", "-l", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)
    wrong = judge(code, told, before, found, wanted)
    last = ([line for line in told.splitlines() if line.startswith("error: ")] or [""])[-1]
    line = last.replace(str(place), "").replace(str(work), "")[:160]
    return {"command": name, "code": str(code), "result": "FAIL" if wrong else "PASS", "why": wrong, "line": line}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--faults", default=",".join(FAULTS), help="some of them, separated by commas")
    parser.add_argument("--commands", default="", help="some of them, separated by commas")
    parser.add_argument("--table", type=Path, help="CSV to write")
    options = parser.parse_args()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    work = options.work.absolute()
    place = fixtures(work)
    commands = {name: command for name, command in all_commands(place).items() if name not in SLOW}
    commands["check"] = Command(["check", place / "data" / "datalist.json"])
    commands["train, disk cache"] = Command(
        ["train", place / "data" / "datalist.json", "--output_dir", "run", *training(place), "--cache", "disk",
         "--cache_dir", "cache"],
        grows=True,
    )  # fmt: skip
    commands = {name: commands[name] for name in options.commands.split(",")} if options.commands else commands
    rows = []
    for name, command in commands.items():
        whole = prepared(command, work / "whole")
        code, told = run(command, whole, None)
        if code:
            raise SystemExit(f"{name} fails without any fault:\n{told}")
        wanted = {n: c for n, c in contents(whole).items() if not set(Path(n).parts) & {*NOT_OURS, "cache"}}
        shutil.rmtree(whole)
        for fault in options.faults.split(","):
            row = {"fault": fault, **trial(name, command, FAULTS[fault], work, wanted)}
            rows.append(row)
            print(" | ".join(row.values()), flush=True)
    passed = sum(row["result"] == "PASS" for row in rows)
    print(f"{passed} of {len(rows)} PASS")
    if options.table:
        with options.table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    sys.exit(passed != len(rows))


if __name__ == "__main__":
    main()
