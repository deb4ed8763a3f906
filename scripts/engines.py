"""Time of `conemos predict`'s engines on this machine's CPU: PyTorch and OpenVINO, interleaved; into a CSV.

    python scripts/engines.py --threads 1 2 --rounds 7 --scan hippocampus_001.nii.gz --output docs/results/engines.csv

CoNeMOS with its last seven convolutions conditioned (features 16, 32, 64, 128), one window of 64³ voxels, called as a
`Predictor` calls it. `seconds` are medians, of CPU time with one thread, else of the clock; `share` is of the
multiplications per second in a product of matrices of the same type, timed in the same rounds; `begins_after`, the time
of the first call, holds imports in the first rows alone. With --scan, the whole command besides, with the package's
model.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from conemos_bundle.inferers import infer
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.networks.interface import RegionNetwork
from conemos_bundle.paper.bench.groups import multiplications
from conemos_bundle.paper.bench.networks import METHODS
from conemos_bundle.paper.bench.setup import Setup
from conemos_bundle.paper.interleaved import interleaved_seconds
from conemos_bundle.predictor.engines import ENGINES, OpenVINONetwork

SIDE = 2048  # of the matrices
PRODUCT = ("product of matrices", "")
Calls = dict[tuple[str, str], Callable[[], object]]


def calls_of(engine: str, network: RegionNetwork, image: torch.Tensor, bfloat16: bool) -> tuple[Calls, float]:
    """What is timed of an engine, by what it is and the engine; and the seconds of its first scan."""
    started = time.perf_counter()
    encode_once = EncodeOnce(OpenVINONetwork(network) if engine == "openvino" else network)

    def decode(regions: int) -> None:
        encode_once.begin()
        infer(image, encode_once, torch.arange(regions), bfloat16=bfloat16)

    def encode_and_decode(regions: int) -> None:
        encode_once.forget()
        decode(regions)

    one, five, second = partial(encode_and_decode, 1), partial(encode_and_decode, 5), partial(decode, 1)
    one()
    begun = time.perf_counter() - started
    for call in (five, second):
        call()
    return {("one region", engine): one, ("five regions", engine): five, ("second region", engine): second}, begun


@torch.no_grad()
def measure(dtype: str, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of one number of threads and one type."""
    torch.set_num_threads(threads)
    network = METHODS["CoNeMOS, N = 7"](Setup(), 5).eval()
    assert isinstance(network, RegionNetwork)
    image = torch.rand(1, 1, 64, 64, 64)
    calls: Calls = {}
    begun = {}
    for engine in ENGINES:
        own, begun[engine] = calls_of(engine, network, image, dtype == "bfloat16")
        calls |= own
    counts = {what: multiplications(calls[what, "torch"]) for what, engine in calls if engine == "torch"}
    a, b = (torch.rand(SIDE, SIDE, dtype=getattr(torch, dtype)) for _ in range(2))
    calls[PRODUCT] = lambda: a @ b
    clock = time.process_time if threads == 1 else time.perf_counter
    taken = interleaved_seconds({str(name): call for name, call in calls.items()}, rounds, clock)
    rate = SIDE**3 / median(taken.pop(str(PRODUCT)))
    rows = []
    for what, engine in calls:
        if (what, engine) != PRODUCT:
            seconds = median(taken[str((what, engine))])
            share = counts[what] / seconds / rate
            row = {"what": what, "dtype": dtype, "threads": threads, "engine": engine, "seconds": round(seconds, 3)}
            rows.append({**row, "share": round(share, 2), "begins_after": round(begun[engine], 1)})
    return rows


def seconds_of_children() -> float:
    """CPU time of the processes that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def measure_command(scan: str, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of `conemos predict` with one number of threads, from start to end."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}

    def predict(engine: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            command = ["-m", "conemos_bundle", "predict", scan, "--engine", engine, "--output", folder]
            subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True)

    clock = seconds_of_children if threads == 1 else time.perf_counter
    taken = interleaved_seconds({engine: partial(predict, engine) for engine in ENGINES}, rounds, clock)
    shared = {"what": "conemos predict, hippocampus model, three regions", "dtype": "float32", "threads": threads}
    return [{**shared, "engine": engine, "seconds": round(median(taken[engine]), 1)} for engine in ENGINES]


def main() -> None:
    """A row per measurement, printed and written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scan", help="a scan of a hippocampus")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    for threads in arguments.threads:
        for dtype in ("float32", "bfloat16"):
            rows += measure(dtype, threads, arguments.rounds)
        if arguments.scan:
            rows += measure_command(arguments.scan, threads, min(3, arguments.rounds))
        table = pd.DataFrame(rows)
        table.to_csv(arguments.output, index=False)
        print(table.to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
