"""No process outlives the one that it works for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conemos_bundle.utils import processes
from conemos_bundle.utils.processes import ENDS_WITH, commands_end_with_us, host, runs, started

START = "from conemos_bundle.utils import processes; import os, subprocess, sys, time; "
# each prints the number of its child, and goes on
FORKS = START + ("processes.forks_end_with_us(); child = os.fork()\nif child: print(child, flush=True)\ntime.sleep(60)")
ELSEWHERE = START.replace("; import", "; import sys; sys.platform = 'darwin'; import") + FORKS.removeprefix(START)
STARTS = START + (
    "below = ['bash', '-c', sys.executable + ' -c \"from conemos_bundle.utils import processes; import time; "
    "processes.end_with_command(); print(1, flush=True); time.sleep(60)\"; true']\n"
    "child = subprocess.Popen(below, env={**os.environ, **processes.commands_end_with_us()}, stdout=subprocess.PIPE, "
    "start_new_session=True)\n"
    "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
)


def gone(pid: int) -> bool:
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # dead; nobody has asked how it ended
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("program", [FORKS, ELSEWHERE, STARTS], ids=["forks", "forks elsewhere", "command below"])
def test_a_child_ends_with_its_parent(program: str) -> None:
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.1)
        assert runs(child) and Path(f"/proc/{child}").exists()
        parent.kill()
        parent.wait()
        assert gone(child)


def test_a_command_of_another_machine_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's nodes get the environment too: there, the number is somebody else's."""
    code = "from conemos_bundle.utils import processes; import time; processes.end_with_command(); time.sleep(0.6)"
    with subprocess.Popen(["true"]) as ended:
        pass
    for machine, expected in (("another", 0), (host(), 1)):
        environment = {**os.environ, ENDS_WITH: f"{machine} {ended.pid} 1"}
        assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == expected


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    assert commands_end_with_us() == {ENDS_WITH: f"{host()} {os.getpid()} {processes._ticks(os.getpid())}"}
    with subprocess.Popen(["sleep", "60"]) as process:
        assert runs(process.pid) is True
        assert abs(started(process.pid) - time.time()) < 5
        process.send_signal(signal.SIGKILL)
    assert runs(process.pid) is False
    assert runs(1) is True and started(2**22 + 1) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="others look for it every quarter of a second")
def test_a_child_that_begins_when_its_parent_has_ended_ends_too() -> None:
    code = "from conemos_bundle.utils.processes import end_with_parent; end_with_parent(2**22 + 1); print('goes on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_worker_begins_before_the_heavy_imports() -> None:
    code = "import sys; from conemos_bundle.utils.processes import start_worker; "
    code += "print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
