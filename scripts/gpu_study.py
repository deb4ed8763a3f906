"""The comparison of methods on one GPU, side by side, in minutes; the next lease goes on from the same folder.

    python scripts/gpu_study.py prepare --output study                 # phantom of 3 mm, and the study's datalists
    python scripts/gpu_study.py rates --output study --steps 40        # how fast all train together, and what limits it
    python scripts/gpu_study.py compare --output study --seconds 430   # trains all, evaluates all, packs what to keep
    # the same without a GPU, which finds the bugs:
    python scripts/gpu_study.py prepare --output rehearsal --small --size 64
    python scripts/gpu_study.py rates --output rehearsal --steps 2 --seconds 600 --quick
    python scripts/gpu_study.py compare --output rehearsal --steps 4 --seconds 900 --quick

Every method has the same patches, batches, steps, seed and augmentation. Masks seen and seconds are recorded beside the
steps. Other methods, or seeds, come with `--methods multi_decoder,individual --steps N` in the next lease.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fire
import pandas as pd
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.runs.run import machine
from conemos_bundle.training.curve import read_curve
from gpu_usage import draw_seconds, watch_usage

EPOCHS = 4  # validated after the second and the last
STARTING, EVALUATING = 45, 90  # seconds of a comparison that are not training
VALIDATED, TESTED = 10, 32  # scans, of those in the phantom
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
}
MODELS = ("conemos", "conemos_all", "conemos_identity", "psl_loss")  # whose weights are kept: a file may have 16 MiB
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
    data = data.model_copy(update={"validation": data.validation[:VALIDATED], "test": chosen})
    write_datalist(data, folder / "phantom" / "study.json")
    parts = max(1, cores // len(FIRST))
    for i in range(parts):
        write_datalist(data.model_copy(update={"test": chosen[i::parts]}), folder / "phantom" / f"test_{i}.json")


def rates(
    output: str,
    steps: int = 40,
    seconds: float = 100,
    methods: Sequence[str] = FIRST,
    mps: bool = False,
    quick: bool = False,
) -> None:
    """Measure how fast all methods train together (``rates.json``, with MPS ``rates_mps.json``), and what limits it.

    Args:
        output: the folder that `prepare` made.
        steps: of each of two epochs; the second is measured.
        seconds: that it may take.
        methods: of ``METHODS``.
        mps: let the processes share the GPU through CUDA's Multi-Process Service, where there is one.
        quick: with tiny networks and patches.
    """
    folder = Path(output).absolute()
    draw = draw_seconds(folder / "phantom", SETTINGS)
    print(f"a draw takes {1000 * draw:.0f} ms of a core: {(os.cpu_count() or 1) / draw:.0f} per second on all of them")
    trial = folder / ("trial_mps" if mps else "trial")
    shutil.rmtree(trial, ignore_errors=True)
    runs = {name: trial / name for name in _names(methods)}
    settings = {"max_epochs": 2, "steps_per_epoch": steps, "val_interval": 99, **(QUICK if quick else {})}
    with _shared_gpu(mps) as shared:
        _train(folder, runs, settings, seconds, watch=trial / "usage.csv")
    found = {name: _rate(run) for name, run in runs.items()}
    slowest = min((rate for rate in found.values() if rate), default=0)
    content = {"machine": machine(), "MPS": shared, "core seconds per draw": draw, "steps per second": found}
    name = "rates_mps.json" if mps else "rates.json"
    (folder / name).write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1), f"\nin 250 s of training: {250 * slowest:.0f} steps each", flush=True)


def compare(
    output: str,
    seconds: float = 430,
    steps: int | None = None,
    seed: int = 0,
    methods: Sequence[str] = FIRST,
    mps: bool | None = None,
    quick: bool = False,
    rates_folder: str | None = None,
    packed: str | None = None,
) -> None:
    """Train every method for equally many steps, evaluate on the test scans, and pack the results.

    Args:
        output: the folder that `prepare` made.
        seconds: what all of it may take.
        steps: of each training; default: what the slowest method manages in the time.
        seed: of weights, draws and augmentation.
        methods: of ``METHODS``.
        mps: see `rates`; default: with it where `rates` found that faster.
        quick: see `rates`.
        rates_folder: where `rates` wrote; default: the study's.
        packed: see `pack`.
    """
    began = time.perf_counter()
    folder = Path(output).absolute()
    slowest, faster_with_mps = _slowest(Path(rates_folder or folder), _names(methods), mps)
    mps = faster_with_mps if mps is None else mps
    if steps is None:
        steps = int((seconds - STARTING - EVALUATING) * slowest * 0.9)
    per_epoch = max(1, steps // EPOCHS)
    print(f"{EPOCHS * per_epoch} steps each, {'with' if mps else 'without'} MPS", flush=True)
    runs = {name: folder / "runs" / name / f"seed{seed}" for name in _names(methods)}
    settings = {"max_epochs": EPOCHS, "steps_per_epoch": per_epoch, "val_interval": EPOCHS // 2, "seed": seed}
    settings |= QUICK if quick else {}
    with _shared_gpu(mps):
        _train(folder, runs, settings, seconds - EVALUATING, watch=folder / f"usage_seed{seed}.csv")
    finished = {name: run for name, run in runs.items() if (run / "model.pt").exists()}
    summarize(output, seed)
    pack(output, packed)  # should the machine be gone before the end
    processes = {}
    for part in sorted((folder / "phantom").glob("test_*.json")):
        for name, run in finished.items():
            place = run / f"evaluation_{part.stem}"
            if not (place / "per_scan.csv").exists():
                words = ["evaluate", str(part), "--run", str(run), "--evaluation_dir", str(place)]
                processes[f"{name} {part.stem}"] = _start(folder, words, run, f"evaluate_{part.stem}")
    _wait(processes, seconds - (time.perf_counter() - began) - 10)
    _print_summary(output, seed)
    pack(output, packed)


def summarize(output: str, seed: int = 0) -> pd.DataFrame:
    """``comparison_seed<seed>.csv``: steps, seconds and masks of each run, Dice of each region, as far as there are."""
    rows = []
    folder = Path(output).absolute()
    for run in sorted(folder.glob(f"runs/*/seed{seed}")):
        curve = read_curve(run / "curve.csv")
        if not curve:
            continue
        row: dict[str, Any] = {"method": run.parent.name, "steps": curve[-1].step, "seconds": curve[-1].seconds}
        row["masks"] = getattr(curve[-1], "masks", None)
        tables = [pd.read_csv(file) for file in sorted(run.glob("evaluation_test_*/per_scan.csv"))]
        if tables:
            metrics = pd.concat(tables)
            row["scans"] = metrics["scan"].nunique()
            row |= {f"dice_{region}": mean for region, mean in metrics.groupby("region")["dice"].mean().items()}
            regions = metrics.groupby("region")[["dice", "sd95_mm"]].mean().mean()
            row |= {"dice": regions["dice"], "sd95_mm": regions["sd95_mm"]}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(folder / f"comparison_seed{seed}.csv", index=False, float_format="%.5g")
    return table


def _print_summary(output: str, seed: int = 0) -> None:
    print(summarize(output, seed).to_string(float_format=lambda value: f"{value:.4g}"), flush=True)


def pack(output: str, packed: str | None = None) -> None:
    """Write ``results.tar.gz`` (records, curves, metrics, logs) and the weights of `MODELS` into a folder.

    Args:
        output: the study.
        packed: the folder; default: ``packed/`` of the study.
    """
    folder = Path(output).absolute()
    target = Path(packed or folder / "packed")
    target.mkdir(parents=True, exist_ok=True)
    files = [*folder.glob("*.json"), *folder.glob("*.csv"), *folder.glob("trial*/usage.csv"), *folder.glob("**/*.log")]
    for name in ("run.json", "curve.csv", "evaluation_test_*/per_scan.csv", "evaluation_test_*/summary.json"):
        files += folder.glob(f"runs/*/*/{name}")
    with tarfile.open(target / "results.tar.gz", "w:gz") as archive:
        for file in sorted(files):
            archive.add(file, file.relative_to(folder))
    for name in MODELS:
        for weights in sorted(folder.glob(f"runs/{name}/*/model.pt"))[:1]:
            shutil.copyfile(weights, target / f"{name}.pt")


def _names(methods: str | Sequence[str]) -> list[str]:
    return [methods] if isinstance(methods, str) else list(methods)  # fire takes one name for a text


def _environment() -> dict[str, str]:
    return {**os.environ, **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}}


def _start(folder: Path, words: list[str], run: Path, log: str) -> subprocess.Popen[bytes]:
    run.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "conemos_bundle", *words, "--dataset_dir", str(folder / "phantom")]
    with (run / f"{log}.log").open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=file, env=_environment(), start_new_session=True)


def _train(folder: Path, runs: dict[str, Path], settings: dict[str, Any], timeout: float, watch: Path) -> None:
    """Train all side by side; prepared scans are kept on disk once for all of them, where they cost 4 ms per draw."""
    processes = {}
    workers = max(1, (os.cpu_count() or 2) // len(runs))
    with watch_usage(watch):
        for name, run in runs.items():
            if (run / "trained").exists():
                continue
            given = {**SETTINGS, "num_workers": workers, "cache": "disk", "cache_dir": str(folder / "cache")}
            given |= settings | METHODS[name]
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


@contextmanager
def _shared_gpu(mps: bool) -> Iterator[bool]:
    """CUDA's Multi-Process Service while processes train, where it is wanted, installed and starts."""
    control = shutil.which("nvidia-cuda-mps-control") if mps else None
    started = control is not None and subprocess.run([control, "-d"], check=False, timeout=20).returncode == 0
    try:
        yield started
    finally:
        if started and control is not None:
            subprocess.run([control], input=b"quit\n", check=False, timeout=20)


def _rate(run: Path) -> float:
    """Steps per second of the last epoch: the first one starts workers and chooses algorithms."""
    rows = read_curve(run / "curve.csv")
    if len(rows) < 2:
        return 0.0
    before, last = rows[-2:]
    return round((last.step - before.step) / (last.seconds - before.seconds), 3)


def _slowest(folder: Path, methods: list[str], mps: bool | None) -> tuple[float, bool]:
    """Steps per second of the slowest method, and whether that is with MPS: the better of two, where both are known.

    A method whose trial failed does not count; without any trial, a cautious guess.
    """
    found = []
    for name, with_mps in (("rates.json", False), ("rates_mps.json", True)):
        if mps in (None, with_mps) and (folder / name).exists():
            content = json.loads((folder / name).read_text())
            measured = [content["steps per second"].get(method) for method in methods]
            rates_of = [rate for rate in measured if rate]
            if rates_of and content["MPS"] == with_mps:
                found.append((len(rates_of), min(rates_of), with_mps))  # all of them, rather than a few quickly
    _, slowest, best = max(found, default=(0, 4.0, False))
    return slowest, best


if __name__ == "__main__":
    fire.Fire({"prepare": prepare, "rates": rates, "compare": compare, "summarize": _print_summary, "pack": pack})
