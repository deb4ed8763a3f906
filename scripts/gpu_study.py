"""The comparison of methods on one GPU, side by side, in minutes; the next lease goes on from the same folder.

    python scripts/gpu_study.py prepare --output study                 # phantom of 3 mm, and the study's datalists
    python scripts/gpu_study.py rates --output study --steps 40        # how fast all train together, and what limits it
    python scripts/gpu_study.py compare --output study --seconds 430   # trains all, evaluates all, packs what to keep
    # every region at its own scale, and one for all (own_scale.py), as long as each other, two seeds:
    python scripts/gpu_study.py compare --output study --methods "[own, psl_6mm]" --seeds "[0, 1]" --equal_time
    # the same without a GPU, which finds the bugs:
    python scripts/gpu_study.py prepare --output rehearsal --small --size 64
    python scripts/gpu_study.py rates --output rehearsal --steps 2 --seconds 600 --quick
    python scripts/gpu_study.py compare --output rehearsal --steps 4 --seconds 900 --quick

Every method has the same batches, steps (or, with `--equal_time`, time), seed and augmentation; the same patches
too, but for those of own_scale.py. Masks seen and seconds are recorded beside the steps. Other methods, or seeds, come
with `--methods multi_decoder,individual --steps N` in the next lease.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import fire
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.runs.run import machine
from conemos_bundle.training.curve import read_curve
from gpu_results import pack, several, summarize
from gpu_usage import draw_seconds, shared_gpu, watch_usage
from own_scale import COARSE
from own_scale import METHODS as OF_SCALES

EPOCHS = 4  # validated after the second and the last
STARTING, EVALUATING = 45, 120  # seconds of a comparison that are not training
VALIDATED, TESTED = 12, 32  # scans, of those in the phantom: those with most regions annotated; every other one first
FIRST = ("conemos", "conemos_n7", "conemos_all", "conemos_identity", "psl_loss", "dodnet")
SETTINGS: dict[str, Any] = {
    "patch_size": [64, 64, 64],
    "rotation_degrees": 180,
    "flip_probability": [0.5, 0.5, 0.5],
    "sampling_rule": "uniform",
}
METHODS: dict[str, dict[str, Any]] = {  # name of the run: overlay and settings
    "conemos": {"n_conditioned": None, "regions_per_scan": 1},  # the paper's: all conditioned, one mask per scan
    "conemos_n7": {"n_conditioned": 7, "regions_per_scan": 1},
    "conemos_all": {"n_conditioned": 7, "regions_per_scan": "all"},
    "conemos_identity": {"n_conditioned": 7, "regions_per_scan": "all", "network_def::film_init": "identity"},
    "psl_loss": {"overlay": "psl_loss"},
    "multi_layer": {"overlay": "multi_layer"},
    "multi_decoder": {"overlay": "multi_decoder"},
    "dodnet": {"overlay": "dodnet", "regions_per_scan": 1},
    "dodnet_all": {"overlay": "dodnet", "regions_per_scan": "all"},
    "individual": {"overlay": "individual"},
    **{name: {"patch_size": None, "most_voxels": 64**3, **settings} for name, settings in OF_SCALES["phantom"].items()},
    **{f"{name}_6mm": {"overlay": name, **COARSE} for name in ("multi_layer", "multi_decoder")},
}
FRACTIONS = {"quarter": 0.25, "tenth": 0.1}  # of the training scans, other ones with each seed: psl_6mm_tenth
METHODS |= {
    f"{name}_{word}": {**METHODS[name], "fraction": fraction}
    for word, fraction in FRACTIONS.items()
    for name in ("own", "conemos_6mm", "psl_6mm")
}
QUICK = {"channels": [4, 8], "patch_size": [16, 16, 16], "bfloat16": False}
# memory that a scan needed serves the next one: the kernel need not hand out, and clear, each page anew
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "17179869184"}


def prepare(output: str, small: bool = False, size: int = 128, workers: int | None = None) -> None:
    """Draw the phantom (Table 1's 289 scans, all regions annotated in those of the test) and write the datalists.

    ``study.json`` has all training scans, some validation scans, and every second test scan up to `TESTED`, so that
    many mothers are among them; ``test_<i>.json`` a part of the test scans each, evaluated side by side.

    Args:
        output: folder of the study.
        small: 18 scans.
        size: voxels per side, of 384 / ``size`` mm.
        workers: processes that draw; default: one per core but one, which a measurement beside may need.
    """
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    cores = os.cpu_count() or 1
    started = time.perf_counter()
    if not (folder / "phantom").exists():
        words = [sys.executable, "-m", "conemos_bundle", "phantom", "--output", str(folder / "phantom")]
        words += ["--fidelity", "full", "--size", str(size), "--complete_test"]
        words += ["--workers", str(workers or max(1, cores - 1))]
        words += ["--training", "12", "--validation", "2", "--test", "4"] if small else []
        subprocess.run(words, check=True, env=_environment() | MALLOC)
        spent = os.times()
        print(f"phantom drawn in {time.perf_counter() - started:.0f} s: {spent.children_user:.0f} s of processors, and "
              f"{spent.children_system:.0f} s in the system")  # fmt: skip
    data = read_datalist(folder / "phantom" / "datalist.json")
    chosen = (data.test[::2] + data.test[1::2])[:TESTED]
    fullest = sorted(data.validation, key=lambda scan: -len(scan.masks))[:VALIDATED]
    data = data.model_copy(update={"validation": fullest, "test": chosen})
    write_datalist(data, folder / "phantom" / "study.json")
    parts = max(1, cores // len(FIRST))
    for i in range(parts):
        write_datalist(data.model_copy(update={"test": chosen[i::parts]}), folder / "phantom" / f"test_{i}.json")


def rates(
    output: str,
    steps: int = 20,
    seconds: float = 70,
    methods: Sequence[str] = FIRST,
    seeds: Sequence[int] = (0,),
    mps: bool = False,
    quick: bool = False,
) -> None:
    """Measure how fast all methods train together (``rates.json``, with MPS ``rates_mps.json``), and what limits it.

    All train until the time is over; the last half of each one's steps counts, when scans are cached.

    Args:
        output: the folder that `prepare` made.
        steps: of each epoch.
        seconds: that it takes.
        methods: of ``METHODS``; with the seed, such as ``psl_3mm/seed0``, for that one alone.
        seeds: of which the others are trained.
        mps: let the processes share the GPU through CUDA's Multi-Process Service, where there is one.
        quick: with tiny networks and patches.
    """
    folder = Path(output).absolute()
    draw = draw_seconds(folder / "phantom", SETTINGS)
    print(f"a draw takes {1000 * draw:.0f} ms of a core: {(os.cpu_count() or 1) / draw:.0f} per second on all of them")
    trial = folder / ("trial_mps" if mps else "trial")
    shutil.rmtree(trial, ignore_errors=True)
    runs = _runs(trial, methods, seeds)
    settings = {"max_epochs": 999, "steps_per_epoch": steps, "val_interval": 999, **(QUICK if quick else {})}
    with shared_gpu(mps) as shared:
        _train(folder, runs, dict.fromkeys(runs, settings), seconds, watch=trial / "usage.csv")
    of_methods: dict[str, list[float]] = {}
    for name, run in runs.items():
        of_methods.setdefault(name.split("/")[0], []).append(_rate(run))
    found = {name: median(each) for name, each in of_methods.items()}
    content = {"machine": machine(), "MPS": shared, "core seconds per draw": draw, "steps per second": found}
    name = "rates_mps.json" if mps else "rates.json"
    (folder / name).write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1), flush=True)


def compare(
    output: str,
    seconds: float = 430,
    steps: int | None = None,
    seeds: Sequence[int] = (0,),
    methods: Sequence[str] = FIRST,
    equal_time: bool = False,
    mps: bool | None = None,
    quick: bool = False,
    rates_folder: str | None = None,
    packed: str | None = None,
    weights: Sequence[str] = (),
) -> None:
    """Train every method for equally many steps, or equally long, evaluate on the test scans, and pack the results.

    Args:
        output: the folder that `prepare` made.
        seconds: what all of it may take.
        steps: of each training; default: what the slowest method manages in the time.
        seeds: of weights, draws and augmentation.
        methods: of ``METHODS``.
        equal_time: each method trains for as long as the others, whatever its steps.
        mps: see `rates`; default: with it where `rates` found that faster.
        quick: see `rates`.
        rates_folder: where `rates` wrote; default: the study's.
        packed: see `pack`.
        weights: see `pack`.
    """
    began = time.perf_counter()
    folder = Path(output).absolute()
    names = [name.split("/")[0] for name in several(methods)]
    found, faster_with_mps = _rates(Path(rates_folder or folder), names, mps)
    mps = faster_with_mps if mps is None else mps
    training = (seconds - STARTING - EVALUATING) * 0.8  # the rest: validation
    slowest = min(found.values())
    per_epoch = {
        name: max(1, int(steps or training * (rate if equal_time else slowest)) // EPOCHS)
        for name, rate in found.items()
    }
    print(f"epochs of {per_epoch} steps, {'with' if mps else 'without'} MPS", flush=True)
    runs = _runs(folder / "runs", methods, seeds)
    settings = {"max_epochs": EPOCHS, "val_interval": EPOCHS // 2, **(QUICK if quick else {})}
    if equal_time and steps is None:  # trials misjudge by a third how fast all are together
        settings["minutes"] = round(training / 60, 3)
    of_runs = {run: {**settings, "steps_per_epoch": per_epoch[run.split("/")[0]]} for run in runs}
    with shared_gpu(mps):
        _train(folder, runs, of_runs, seconds - EVALUATING, watch=folder / "usage.csv")
    finished = {name: run for name, run in runs.items() if (run / "model.pt").exists()}
    summarize(output)
    pack(output, packed, weights)  # should the machine be gone before the end
    waiting = [
        (name, run, part)
        for name, run in finished.items()
        for part in sorted((folder / "phantom").glob("test_*.json"))
        if not (run / f"evaluation_{part.stem}" / "per_scan.csv").exists()
    ]
    processes: dict[str, subprocess.Popen[bytes]] = {}
    while waiting and time.perf_counter() - began < seconds - 10:
        if sum(process.poll() is None for process in processes.values()) >= (os.cpu_count() or 1):
            time.sleep(0.2)
            continue
        name, run, part = waiting.pop(0)
        words = ["evaluate", str(part), "--run", str(run), "--evaluation_dir", str(run / f"evaluation_{part.stem}")]
        processes[f"{name} {part.stem}"] = _start(folder, words, run, f"evaluate_{part.stem}")
    _wait(processes, seconds - (time.perf_counter() - began) - 10)
    _print_summary(output)
    pack(output, packed, weights)


def _print_summary(output: str) -> None:
    print(summarize(output).to_string(float_format=lambda value: f"{value:.4g}"), flush=True)


def _runs(folder: Path, methods: Sequence[str], seeds: Sequence[int]) -> dict[str, Path]:
    names = [
        name if "/" in name else f"{name}/seed{seed}"
        for i, seed in enumerate(several(seeds))
        for name in several(methods)
        if i == 0 or "/" not in name
    ]
    return {name: folder / name for name in names}


def _environment() -> dict[str, str]:
    return {**os.environ, **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}}


def _start(folder: Path, words: list[str], run: Path, log: str) -> subprocess.Popen[bytes]:
    run.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "conemos_bundle", *words, "--dataset_dir", str(folder / "phantom")]
    with (run / f"{log}.log").open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=file, env=_environment(), start_new_session=True)


def _train(folder: Path, runs: dict[str, Path], settings: dict[str, Any], timeout: float, watch: Path) -> None:
    """Train all side by side, each with its settings.

    Prepared scans are kept on disk once for all of them, where they cost 4 ms per draw.
    """
    processes = {}
    workers = max(1, (os.cpu_count() or 2) // len(runs))
    with watch_usage(watch):
        for name, run in runs.items():
            if (run / "trained").exists():
                continue
            given = {**SETTINGS, "num_workers": workers, "cache": "disk", "cache_dir": str(folder / "cache")}
            given |= {"seed": int(run.name[4:]), **METHODS[run.parent.name], **settings[name]}
            options = [word for option, value in given.items() for word in (f"--{option}", str(value))]
            words = ["train", str(folder / "phantom" / "study.json"), "--output_dir", str(run), *options]
            processes[name] = _start(folder, words, run, "train")
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
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
            code = -1
        print(f"{name}: " + ("done" if code == 0 else f"exit code {code}, see its log"), flush=True)
        done += [name] if code == 0 else []
    return done


def _rate(run: Path) -> float:
    """Steps per second of the last half of the epochs: the first start workers, read scans and choose algorithms."""
    rows = read_curve(run / "curve.csv") if (run / "curve.csv").exists() else []
    if len(rows) < 2:
        return 0.0
    before, last = rows[(len(rows) - 1) // 2], rows[-1]
    return round((last.step - before.step) / (last.seconds - before.seconds), 3)


def _rates(folder: Path, methods: list[str], mps: bool | None) -> tuple[dict[str, float], bool]:
    """Steps per second of each method, and whether that is with MPS: the better of two, where both are known.

    A method whose trial failed is taken for the slowest one; without any trial, a cautious guess.
    """
    trials = []
    for name, with_mps in (("rates.json", False), ("rates_mps.json", True)):
        if mps in (None, with_mps) and (folder / name).exists():
            content = json.loads((folder / name).read_text())
            known = {method: rate for method in methods if (rate := content["steps per second"].get(method))}
            if known and content["MPS"] == with_mps:
                trials.append((len(known), min(known.values()), with_mps, known))  # all, rather than a few quickly
    _, slowest, best, known = max(trials, key=lambda trial: trial[:2], default=(0, 4.0, False, {}))
    return {method: known.get(method, slowest) for method in methods}, best


if __name__ == "__main__":
    fire.Fire({"prepare": prepare, "rates": rates, "compare": compare, "summarize": _print_summary, "pack": pack})
