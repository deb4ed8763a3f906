"""What limits trainings: how busy processors and GPU are meanwhile, and what loading a sample costs."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conemos_bundle.data import RegionDataset, RegionSampler, plan_input, read_datalist, scan_items
from conemos_bundle.transforms import augmentation, in_sequence, preparation
from conemos_bundle.utils.paths import bundle_folder


@contextmanager
def shared_gpu(mps: bool) -> Iterator[bool]:
    """CUDA's Multi-Process Service while processes train, where it is wanted, installed and starts."""
    control = shutil.which("nvidia-cuda-mps-control") if mps else None
    started = control is not None and subprocess.run([control, "-d"], check=False, timeout=20).returncode == 0
    try:
        yield started
    finally:
        if started and control is not None:
            subprocess.run([control], input=b"quit\n", check=False, timeout=20)


@contextmanager
def watch_usage(path: Path, every: float = 2.0) -> Iterator[None]:
    """Write a row each ``every`` seconds: seconds, percent of all processors, percent of the GPU, its memory in MiB."""
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(path, every, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


def _watch(path: Path, every: float, over: threading.Event) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    began, before = time.monotonic(), _ticks()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["seconds", "processors_percent", "gpu_percent", "gpu_mib"])
        while not over.wait(every):
            now = _ticks()
            busy, total = now[0] - before[0], now[1] - before[1]
            writer.writerow([round(time.monotonic() - began, 1), round(100 * busy / max(1, total), 1), *_gpu()])
            file.flush()
            before = now


def _ticks() -> tuple[int, int]:
    """Ticks that processors were busy, and all."""
    ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _gpu() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return ["", ""]
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    found = subprocess.run(query, check=False, capture_output=True, text=True, timeout=20).stdout
    return [word.strip() for word in (found.splitlines() or [","])[0].split(",")]


def draw_seconds(folder: Path, settings: Mapping[str, Any], draws: int = 20) -> float:
    """Seconds of a processor that a draw takes: what a loader does for each sample of ``study.json`` in ``folder``."""
    data = read_datalist(folder / "study.json")
    items = scan_items(data, "training", folder)[:4]
    plan = plan_input(items, most_voxels=64**3, patch_size=settings["patch_size"])
    steps = json.loads((bundle_folder() / "configs" / "train.json").read_text())["augmentation"]["steps"]
    augment = augmentation(plan, settings["rotation_degrees"], settings["flip_probability"], steps)
    transform = in_sequence([preparation(plan, data.regions), augment])
    dataset = RegionDataset(items, transform, data.regions, cache="memory", progress=False)
    samples = list(RegionSampler(dataset.annotated, len(data.regions), draws + 3))
    for sample in samples[:3]:
        dataset[sample]
    began = time.process_time()
    for sample in samples[3:]:
        dataset[sample]
    return round((time.process_time() - began) / draws, 4)
