"""End a process at a file-system event: `kill_matrix.py` has this imported in every process below a command."""

import os
import signal
import sys

CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}


def install() -> None:
    """Count what happens below KILL_ROOT in the file KILL_COUNT; at event number KILL_AT, end this process.

    Where KILL_WHOM is a number, end the process of that number.
    """
    root, at = os.environ["KILL_ROOT"], int(os.environ["KILL_AT"])
    count = os.open(os.environ["KILL_COUNT"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in CHANGES:
            return
        if isinstance(arguments[0], int) or not os.path.abspath(os.fsdecode(arguments[0])).startswith(root):
            return
        os.write(count, b".")
        if os.fstat(count).st_size == at:
            os.kill(int(os.environ.get("KILL_WHOM") or os.getpid()), signal.SIGKILL)

    sys.addaudithook(hook)
