"""How fast the command line helps and refuses, against importing torch and MONAI in one run; what it prints and leaves.

    python tests/integration/verify_command_line.py [--rounds 5]

The rounds are interleaved, the figures are medians. Ends with exit code 1 where a refusal prints other than one line,
ends with another exit code than 2, or leaves a file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCAN = str(ROOT / "models" / "model.pt")  # a file that is there
CALLS = {
    "import torch, monai": ["-c", "import torch, monai"],
    "conemos --help": ["-m", "conemos_bundle", "--help"],
    "conemos train --help": ["-m", "conemos_bundle", "train", "--help"],
    "misspelled option": ["-m", "conemos_bundle", "predict", SCAN, "--region", "anterior"],
    "unknown region": ["-m", "conemos_bundle", "predict", SCAN, "--regions", "antrior"],
    "missing file": ["-m", "conemos_bundle", "predict", "nowhere.nii.gz"],
    "misspelled setting": ["-m", "conemos_bundle", "train", SCAN, "--max_epoch", "3"],
    "unknown overlay": ["-m", "conemos_bundle", "train", SCAN, "--overlay", "psl_los"],
    "phantom, misspelled": ["-m", "conemos_bundle", "phantom", "q", "--tests", "1"],
    "pack, help at the end": ["-m", "conemos_bundle", "pack", "RUN", "out", "-h"],
}


def main() -> None:
    """Measure, print a table, and end with 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in CALLS}
    printed: dict[str, subprocess.CompletedProcess[str]] = {}
    wrong = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, words in CALLS.items():
                begun = time.perf_counter()
                printed[name] = subprocess.run(
                    [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
                )
                seconds[name].append(time.perf_counter() - begun)
        left = [path.name for path in Path(folder).iterdir()]
    for name, done in printed.items():
        helps = "help" in name or name.startswith("import")
        lines = done.stderr.splitlines()
        if (done.returncode, len(lines)) != ((0, 0) if helps else (2, 1)):
            wrong.append(name)
        shown = "" if helps else lines[0] if lines else "nothing"
        print(f"{name:22} {statistics.median(seconds[name]):6.2f} s  exit code {done.returncode}  {shown}")
    print(f"files written: {left or 'none'}")
    if wrong or left:
        print(f"FAILED: {', '.join(wrong) or left}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
