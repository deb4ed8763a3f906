"""The comparison of methods on one GPU, side by side, in ten minutes; the next ten go on from the same folder.

    python scripts/gpu_study.py prepare --output study                 # phantom of 3 mm; how fast all train together
    python scripts/gpu_study.py compare --output study --seconds 540   # trains all, evaluates all, packs what to keep
    python scripts/gpu_study.py prepare --output rehearsal --small --steps 3           # the same without a GPU, which
    python scripts/gpu_study.py compare --output rehearsal --steps 20 --seconds 3000   # finds the bugs

Every method has the same patches, batches, steps, seed and augmentation. Their number of steps is what the slowest of
the same batch trains in the time, at the speed that `prepare` measured. Masks seen and seconds are recorded beside
the steps. The other methods, or seeds, come with `--methods multi_decoder,individual --steps N` in the next ten.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
from conemos_bundle.data import RegionSampler, read_datalist
from conemos_bundle.phantom import make_phantom
from conemos_bundle.runs.run import machine
from conemos_bundle.training.curve import read_curve

EPOCHS = 4  # validated after the second and the last
LOADING, EVALUATING = 90, 150  # seconds of a comparison that are not training
BATCH4_LATER = 0.75  # the part of the training time after which all but the one with twice the samples are done
FIRST = ("conemos", "conemos_n7", "conemos_batch4", "psl_loss", "multi_layer", "dodnet")
SETTINGS: dict[str, Any] = {
    "patch_size": [64, 64, 64],
    "rotation_degrees": 180,
    "flip_probability": [0.5, 0.5, 0.5],
    "sampling_rule": "uniform",
}
METHODS: dict[str, dict[str, Any]] = {  # name of the run: overlay and settings
    "conemos": {},
    "conemos_n7": {"n_conditioned": 7},
    "conemos_batch4": {"batch_size": 4},  # as many masks as PSL loss sees, nearly
    "psl_loss": {"overlay": "psl_loss"},
    "multi_layer": {"overlay": "multi_layer"},
    "multi_decoder": {"overlay": "multi_decoder"},
    "dodnet": {"overlay": "dodnet"},
    "individual": {"overlay": "individual"},
}
KEPT = ("run.json", "curve.csv", "masks.json", "evaluation_test/per_scan.csv", "evaluation_test/summary.json")


def prepare(
    output: str, steps: int = 60, small: bool = False, seconds: float = 150, methods: Sequence[str] = FIRST
) -> None:
    """Draw the phantom (Table 1's 289 scans at 3 mm, side by side) and measure how fast all methods train together.

    On the 16 cores beside an H100 the phantom took 97 s, and one training alone made 26 steps per second.
    """
    for library in ("OMP", "OPENBLAS", "MKL"):  # the scans are drawn side by side already
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    folder = Path(output).absolute()
    if not (folder / "phantom").exists():
        counts = {"training": 8, "validation": 2, "test": 2, "size": 64} if small else {}
        started = time.perf_counter()
        make_phantom(str(folder / "phantom"), fidelity="full", workers=os.cpu_count() or 1, **counts)
        print(f"phantom drawn in {time.perf_counter() - started:.0f} s")
    trial = folder / "trial"
    shutil.rmtree(trial, ignore_errors=True)
    runs = {name: trial / name for name in methods}
    _train(folder, runs, {"max_epochs": 2, "steps_per_epoch": steps, "val_interval": 99}, seconds)
    rates = {name: _rate(run) for name, run in runs.items()}
    (folder / "rates.json").write_text(json.dumps({"machine": machine(), "steps per second": rates}, indent=1) + "\n")
    print(json.dumps(rates, indent=1))


def compare(
    output: str, seconds: float = 540, steps: int | None = None, seed: int = 0, methods: Sequence[str] = FIRST
) -> None:
    """Train every method for equally many steps, evaluate on the test scans, and pack the results.

    Args:
        output: the folder that `prepare` made.
        seconds: what all of it may take.
        steps: of each training; default: what the slowest method manages in the time.
        seed: of weights, draws and augmentation.
        methods: of ``METHODS``.
    """
    began = time.perf_counter()
    folder = Path(output).absolute()
    if steps is None:
        rates = json.loads((folder / "rates.json").read_text())["steps per second"]
        slowest = min(rates[name] for name in methods if rates[name] and "batch_size" not in METHODS[name])
        steps = int((seconds - LOADING - EVALUATING) * BATCH4_LATER * slowest * 0.9)
    per_epoch = max(1, steps // EPOCHS)
    print(f"{EPOCHS * per_epoch} steps each", flush=True)
    runs = {name: folder / "runs" / name / f"seed{seed}" for name in methods}
    settings = {"max_epochs": EPOCHS, "steps_per_epoch": per_epoch, "val_interval": EPOCHS // 2, "seed": seed}
    _train(folder, runs, settings, seconds - EVALUATING)
    finished = {name: run for name, run in runs.items() if (run / "model.pt").exists()}
    processes = {
        name: _start(folder, ["evaluate", "--run", str(run)], run, "evaluate")
        for name, run in finished.items()
        if not (run / "evaluation_test" / "summary.json").exists()
    }
    _wait(processes, seconds - (time.perf_counter() - began) - 10)
    for name, run in finished.items():
        _record(folder, name, run)
        summary = run / "evaluation_test" / "summary.json"
        means = json.loads(summary.read_text())["mean_over_regions"] if summary.exists() else "not evaluated"
        print(f"{name}: {means}", flush=True)
    pack(output)


def pack(output: str) -> None:
    """Write ``results.tar.gz``: records, curves, metrics of each scan and logs; ``models.tar``: weights of two."""
    folder = Path(output).absolute()
    with tarfile.open(folder / "results.tar.gz", "w:gz") as archive:
        for file in sorted([*folder.glob("*.json"), *folder.glob("runs/**/*.log")]):
            archive.add(file, file.relative_to(folder))
        for run in sorted(folder.glob("runs/*/*")):
            for name in KEPT:
                if (run / name).exists():
                    archive.add(run / name, (run / name).relative_to(folder))
    with tarfile.open(folder / "models.tar", "w") as archive:
        for run in [*folder.glob("runs/conemos/*"), *folder.glob("runs/psl_loss/*")]:
            if (run / "model.pt").exists():
                archive.add(run / "model.pt", (run / "model.pt").relative_to(folder))


def _start(folder: Path, command: list[str], run: Path, log: str) -> subprocess.Popen[bytes]:
    run.mkdir(parents=True, exist_ok=True)
    verb, *options = command
    words = [sys.executable, "-m", "conemos_bundle", verb, str(folder / "phantom" / "datalist.json"), *options]
    words += ["--dataset_dir", str(folder / "phantom")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (run / f"{log}.log").open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=file, env=environment, start_new_session=True)


def _train(folder: Path, runs: dict[str, Path], settings: dict[str, Any], timeout: float) -> None:
    processes = {}
    workers = max(1, (os.cpu_count() or 2) // len(runs))
    for name, run in runs.items():
        if (run / "trained").exists():
            continue
        given = {**SETTINGS, "num_workers": workers, **settings, **METHODS[name]}
        options = [word for option, value in given.items() for word in (f"--{option}", str(value))]
        processes[name] = _start(folder, ["train", "--output_dir", str(run), *options], run, "train")
    for name in _wait(processes, timeout):
        (runs[name] / "trained").touch()


def _wait(processes: dict[str, subprocess.Popen[bytes]], timeout: float) -> list[str]:
    """Wait for all; those that outlast the time are ended, and go on from their checkpoint the next time."""
    ends = time.monotonic() + timeout
    done = []
    for name, process in processes.items():
        try:
            code = process.wait(max(1.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 15)
            process.wait()
            code = -1
        print(f"{name}: " + ("done" if code == 0 else f"exit code {code}, see its log"), flush=True)
        done += [name] if code == 0 else []
    return done


def _rate(run: Path) -> float:
    """Steps per second of the last epoch: the first one starts workers and chooses algorithms."""
    rows = read_curve(run / "curve.csv")
    if len(rows) < 2:
        return 0.0
    before, last = rows[-2:]
    return round((last.step - before.step) / (last.seconds - before.seconds), 3)


def _record(folder: Path, name: str, run: Path) -> None:
    """Write how many annotated masks the training has seen to ``masks.json``; the draws follow from the seed."""
    record = json.loads((run / "run.json").read_text())["settings"]
    datalist = read_datalist(folder / "phantom" / "datalist.json")
    annotated = [
        [k for k, region in enumerate(datalist.regions) if region in scan.masks]
        for scan in datalist.training
        if scan.masks
    ]
    every = METHODS[name].get("overlay") in ("psl_loss", "multi_layer", "multi_decoder")
    samples = record["steps_per_epoch"] * record["batch_size"] * (5 if name == "individual" else 1)
    masks = 0
    for epoch in range(1, record["max_epochs"] + 1):
        sampler = RegionSampler(annotated, len(datalist.regions), samples, record["sampling_rule"], record["seed"])
        sampler.set_epoch(epoch)
        masks += sum(len(annotated[draw.scan]) if every else 1 for draw in sampler)
    content = {"steps": record["max_epochs"] * record["steps_per_epoch"], "samples": samples * record["max_epochs"]}
    (run / "masks.json").write_text(json.dumps({**content, "masks": masks}) + "\n")


if __name__ == "__main__":
    fire.Fire({"prepare": prepare, "compare": compare, "pack": pack})
