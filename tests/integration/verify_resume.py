"""Kill a training with SIGKILL at random moments, resume it, and compare its weights with those of one never killed.

python tests/integration/verify_resume.py            # makes a small phantom; a few minutes
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fire
import torch
from conemos_bundle.phantom import make_phantom


def start(datalist: Path, output: Path, epochs: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a training."""
    command = [sys.executable, "-m", "conemos_bundle", "train", str(datalist), "--output_dir", str(output)]
    command += ["--max_epochs", str(epochs), "--steps_per_epoch", "12", "--num_workers", "1"]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)


def main(kills: int = 3, epochs: int = 24, seed: int | None = None) -> None:
    """Verify that a resumed training ends with the same weights.

    Args:
        kills: how often to kill it.
        epochs: epochs of 12 steps.
        seed: seed of the moments; default: another each time.
    """
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make_phantom(str(root / "phantom"), training=6, validation=2, test=1, size=24)
        datalist = root / "phantom" / "datalist.json"
        began = time.monotonic()
        if start(datalist, root / "whole", epochs, root / "whole.log").wait() != 0:
            sys.exit((root / "whole.log").read_text()[-3000:])
        duration = time.monotonic() - began
        print(f"never killed: {duration:.0f} s")
        killed = 0
        while killed < kills:
            process = start(datalist, root / "killed", epochs, root / "killed.log")
            # at most 1 / kills of the training at a time: all of them fall into one and the same training
            moment = draw.uniform(0.6, 1.0) / kills * duration
            try:
                code = process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                checkpoint = root / "killed" / "checkpoint.pt"
                done = torch.load(checkpoint, weights_only=True)["iteration"] if checkpoint.exists() else 0
                print(f"killed after {moment:.1f} s; the checkpoint holds step {done} of {epochs * 12}")
                continue
            if code != 0:
                sys.exit((root / "killed.log").read_text()[-3000:])
            sys.exit(f"it finished after {killed} of {kills} kills: start again, with more --epochs")
        if start(datalist, root / "killed", epochs, root / "killed.log").wait() != 0:
            sys.exit((root / "killed.log").read_text()[-3000:])
        names = ("network", "optimizer", "scheduler", "epoch", "iteration", "best", "best_epoch")
        one, other = (torch.load(root / run / "checkpoint.pt", weights_only=True) for run in ("whole", "killed"))
        differing = [name for name in names if not same(one[name], other[name])]
        best = [torch.load(root / run / "model.pt", weights_only=True) for run in ("whole", "killed")]
        print("checkpoint.pt: " + ("equal, bit for bit" if not differing else f"differs in {', '.join(differing)}"))
        print("model.pt: " + ("equal, bit for bit" if same(*best) else "differs"))
        sys.exit(bool(differing) or not same(*best))


def same(a: object, b: object) -> bool:
    """Whether two nested structures of tensors and values are equal, exactly."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


if __name__ == "__main__":
    fire.Fire(main)
