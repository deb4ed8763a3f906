"""The whole of CoNeMOS Bundle in five minutes: a phantom data set, training, evaluation, two regions on demand."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import fire

REGIONS = ("brain", "placenta")


def conemos(*arguments: str) -> None:
    """Run a `conemos` command and show it, so that it can be typed again."""
    print(f"\n$ conemos {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "conemos_bundle", *arguments], check=True)


def main(folder: str = "demo", epochs: int = 8) -> None:
    """Run the demonstration.

    Args:
        folder: where everything goes; an earlier demonstration there is replaced.
        epochs: epochs of training, of 100 steps each.
    """
    started = time.monotonic()
    root = Path(folder)
    if root.exists() and not (root / ".conemos-demo").exists():
        sys.exit(f"error: {root}: exists and is no demonstration; pass --folder")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / ".conemos-demo").touch()
    datalist, run = str(root / "phantom" / "datalist.json"), str(root / "run")
    conemos("phantom", str(root / "phantom"))
    conemos("check", datalist)
    # half the usual features: enough for a phantom; every region equally often: the eyes need it
    conemos(
        "train", datalist, "--output_dir", run, "--max_epochs", str(epochs), "--steps_per_epoch", "100",
        "--val_interval", "2", "--channels", "[8,16,32,64]", "--sampling_rule", "uniform",
        "--rotation_degrees", "180",
    )  # fmt: skip
    conemos("evaluate", datalist, "--run", run)
    scan = next(s for s in json.loads(Path(datalist).read_text())["test"])["image"]
    conemos(
        "predict", str(root / "phantom" / scan), "--regions", ",".join(REGIONS), "--model", run,
        "--output", str(root / "predictions"),
    )  # fmt: skip
    evaluation = root / "run" / "evaluation_test"
    print("\n" + (evaluation / "summary.md").read_text())
    print(f"pictures of the best, median and worst scan of each region: {evaluation}/montage_*.png")
    print(f"masks on demand: {root / 'predictions'}")
    print(f"done in {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    fire.Fire(main)
