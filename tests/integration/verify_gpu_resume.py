"""A training on a GPU that is killed and resumed, beside two of the same that are not: how far are their weights apart?

    python tests/integration/verify_gpu_resume.py --output gpu --seconds 100  # gpu/resume.json; or --device cpu

On a CPU they are equal, bit for bit (verify_resume.py). A GPU may add up in any order: what the two
that were never killed differ by is what one that was killed may differ by.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fire
import torch
from conemos_bundle.phantom import make_phantom
from conemos_bundle.runs.run import machine
from verify_resume import same

RUNS = ("whole", "again", "killed")


def _start(root: Path, run: str, steps: int, device: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "conemos_bundle", "train", str(root / "phantom" / "datalist.json")]
    words += ["--dataset_dir", str(root / "phantom"), "--output_dir", str(root / run)]
    words += [] if device == "cuda" else ["--device", device]  # else what a user gets: the GPU that is there
    words += ["--max_epochs", "3", "--steps_per_epoch", str(steps), "--num_workers", "2", "--val_interval", "3"]
    words += ["--patch_size", "[32, 32, 32]"]
    with (root / f"{run}.log").open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=file, start_new_session=True)


def _kill_after_first_epoch(process: subprocess.Popen[bytes], checkpoint: Path, ends: float) -> int:
    """Kill it as soon as there is a checkpoint; return the step that this one holds, 0 where there is none."""
    while process.poll() is None and not checkpoint.exists() and time.monotonic() < ends:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return torch.load(checkpoint, weights_only=True)["iteration"] if checkpoint.exists() else 0


def _difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, float | bool]:
    """Of two state_dicts: whether they are equal, the largest difference, and the norm of it over that of ``one``."""
    a, b = (torch.cat([weights[name].double().flatten().cpu() for name in one]) for weights in (one, other))
    largest, relative = float((a - b).abs().max()), float((a - b).norm() / a.norm())
    return {"equal bit for bit": torch.equal(a, b), "largest": largest, "relative": relative}


def main(output: str, device: str = "cuda", steps: int = 60, seconds: float = 100) -> None:
    """Train three times, side by side; kill one of them after its first epoch, and resume it.

    Args:
        output: folder of ``resume.json``.
        device: such as ``cuda`` or ``cpu``.
        steps: of each of three epochs.
        seconds: after which all are ended.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make_phantom(root / "phantom", training=6, validation=2, test=1, size=48)
        processes = {run: _start(root, run, steps, device) for run in RUNS}
        killed_at = _kill_after_first_epoch(processes["killed"], root / "killed" / "checkpoint.pt", ends)
        processes["killed"] = _start(root, "killed", steps, device)
        codes = {}
        for run, process in processes.items():
            try:
                codes[run] = process.wait(max(1.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                codes[run] = -1
        content: dict[str, object] = {"machine": machine(), "torch": torch.__version__, "steps": 3 * steps}
        content |= {"killed after step": killed_at, "exit codes": codes}
        if any(codes.values()) or not 0 < killed_at < 3 * steps:
            content["logs"] = {run: (root / f"{run}.log").read_text()[-1500:] for run in RUNS}
        else:
            saved = {
                run: torch.load(root / run / "checkpoint.pt", weights_only=True, map_location="cpu") for run in RUNS
            }
            for run in RUNS[1:]:
                content[f"{run} against whole"] = _difference(saved["whole"]["network"], saved[run]["network"])
                content[f"{run}: optimizer and schedule equal"] = all(
                    same(saved["whole"][name], saved[run][name]) for name in ("optimizer", "scheduler")
                )
    text = json.dumps(content, indent=1)
    (folder / "resume.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    fire.Fire(main)
