"""A fast slice of `scripts/kill_matrix.py`: killed at any file-system event, a command leaves nothing that is cut, and
the same command goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
# a process of its own: each trial is a fork, and a fork must not find threads that it has not
CODE = """
import random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import kill_matrix
from kill_matrix import Command
work, data, run = map(Path, sys.argv[2:])
kill_matrix.torch.set_num_threads(1)
kill_matrix.hook_into_children(work)
train = ["train", data / "datalist.json", "--dataset_dir", data, "--output_dir", "run", "--max_epochs", 3,
    "--steps_per_epoch", 1, "--batch_size", 1, "--channels", "[2,4]", "--patch_size", "[16,16,16]", "--num_workers", 0]
commands = {
    "train": Command(train, grows=True, differs=("config.json", "run.json")),
    "pack": Command(["pack", run, "--output", "bundle", "--archive"], differs=("bundle.zip.sha256",)),
    "predict": Command(["predict", data / "images" / "test_0.nii.gz", "--model", run, "--output", "out"]),
    "phantom": Command(["phantom", "phantom", "--training", 1, "--validation", 0, "--test", 1, "--size", 24]),
}
for name, command in commands.items():
    counts = kill_matrix.try_command(name, command, work, 3, random.Random(name))
    print(name, "survived" if counts["tried"] == counts["survived"] == 3 else dict(counts))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_is_killed_goes_on(tiny_dataset: Path, run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, *map(str, (SCRIPTS, tmp_path, tiny_dataset, run))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    survived = [line for line in done.stdout.splitlines() if line.endswith(" survived")]
    assert survived == [f"{name} survived" for name in ("train", "pack", "predict", "phantom")], (
        done.stdout + done.stderr
    )
