"""A fast slice of `scripts/fault_matrix.py`: faults that need no disk of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
FAULTS = (
    "files_of_1_kB",
    "name_taken",
    "output_closed",
    "ascii_terminal",
    "folder_lost",
    "no_temporary_folder",
    "no_memory",
)
CODE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import fault_matrix
from fault_matrix import FAULTS, Command, contents, prepared, run, trial
work, data, model = map(Path, sys.argv[2:5])
train = ["train", data / "datalist.json", "--dataset_dir", data, "--output_dir", "run", "--max_epochs", 2,
    "--steps_per_epoch", 1, "--batch_size", 1, "--channels", "[2,4]", "--patch_size", "[16,16,16]", "--num_workers", 0]
predict = ["predict", data / "images" / "test_0.nii.gz", "--model", model, "--output", "out", "--output_format"]
commands = {
    "datalist": Command(["check", data / "datalist.json"]),
    "train": Command(train, grows=True),
    "pack": Command(["pack", model, "--output", "bundle"]),
    "predict": Command([*predict, "files"]),
    "predict seg.nrrd": Command([*predict, "seg.nrrd"]),
}
fault_matrix.signal.signal(fault_matrix.signal.SIGXFSZ, fault_matrix.signal.SIG_IGN)
for name, command in commands.items():
    whole = prepared(command, work / name)
    code, told = run(command, whole, None)
    assert code == 0, told
    wanted = {n: c for n, c in contents(whole).items() if not set(Path(n).parts) & set(fault_matrix.NOT_OURS)}
    for fault in sys.argv[5:]:
        row = trial(name, command, FAULTS[fault], work, wanted)
        print(name, fault, row["result"], row["why"], row["line"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's limits")
def test_each_fault_ends_in_one_line(tiny_dataset: Path, run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, *map(str, (SCRIPTS, tmp_path, tiny_dataset, run)), *FAULTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("datalist", "train", "pack", "predict"))]
    assert len(lines) == 5 * len(FAULTS), done.stdout + done.stderr
    assert [line for line in lines if " PASS " not in line] == []
