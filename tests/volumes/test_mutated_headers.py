"""Files with wrong or odd headers end in a result placed as another reader places it, or in one line: every entry."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import conemos_bundle
import pytest

SECONDS = 60  # a file that takes longer hangs
FEWEST = {"nifti": 180, "itk": 90, "dicom": 110}


def endings(root: Path, kind: str) -> list[tuple[str, str, str]]:
    """File, entry and how it ended, of every file of a kind; a process that dies or hangs goes on behind that file."""
    found: list[tuple[str, str, str]] = []
    package = Path(conemos_bundle.__file__).parent.parent
    places = [package, Path(__file__).parent]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"}
    script = str(Path(__file__).with_name("mutated_entries.py"))
    first, finished = 0, False
    while not finished:
        command = [sys.executable, script, str(root), kind, str(first)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        at, label = first, "nothing yet"
        for line in _lines(process):
            if not line.startswith("["):
                continue
            at, label, *rest = json.loads(line)
            if rest:
                found.append((label, rest[0], rest[1]))
        code = process.wait()
        finished = code == 0
        if not finished:
            error = (process.stderr.read() if process.stderr else b"").decode(errors="replace")
            assert code < 0, error[-3000:]  # the script's own fault
            found.append((label, "any", f"signal {-code}"))
        first = at + 1
    return found


def _lines(process: subprocess.Popen[bytes]) -> list[str]:
    """Its lines until it ends, or says nothing for too long: then it is killed."""
    assert process.stdout is not None
    text, last = b"", time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=1):
                part = os.read(process.stdout.fileno(), 65536)
                if not part:
                    break
                text, last = text + part, time.monotonic()
            elif time.monotonic() - last > SECONDS:
                process.kill()
                break
    return text.decode().splitlines()


@pytest.mark.parametrize("kind", sorted(FEWEST))
def test_mutated_headers(kind: str, tmp_path: Path) -> None:
    found = endings(tmp_path, kind)
    files = {label for label, _, _ in found}
    wrong = [ending for ending in found if ending[2] not in ("right", "refused")]
    print(f"{kind}: {len(files)} files, {dict(Counter((entry, ending) for _, entry, ending in found))}")
    assert not wrong, "\n".join(map(str, wrong))
    assert len(files) >= FEWEST[kind]
    assert {"right", "refused"} <= {ending for _, _, ending in found}  # both happen
