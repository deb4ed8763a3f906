from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from conemos_bundle.utils.memory import keep_freed_memory

# glibc asks the system for each tensor of 64 MB anew: for 16,384 pages of 4 KB, or 32 huge ones
SCRIPT = """
import resource, sys, torch
from conemos_bundle.utils.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else True
for _ in range(10):  # malloc sets some free blocks aside first
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(2**24)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, what], check=True, capture_output=True, text=True)
    kept, number = done.stdout.split()
    if kept != "True":
        pytest.skip("the C library is not glibc")
    return int(number)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_kept_for_the_next_tensor() -> None:
    assert 4 * faults("keep") < faults("leave")


def test_a_gpu_has_its_own_way() -> None:
    assert keep_freed_memory(torch.device("cuda")) is False
