"""Time and memory of inference with each region at its own scale, against networks that look at the whole scan.

    python scripts/own_scale_time.py ph3/images/test_000_0.nii.gz --own runs/own --others "{'PSL loss': 'runs/psl_3mm'}"

Scans are prepared before; runs take turns, so that a busy machine is fair to all; medians. Each peak is of a process of
its own, of all regions, loading included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import fire
import pandas as pd
import torch
from conemos_bundle.predictor import Predictor
from conemos_bundle.predictor.scans import scan_image


def main(
    scan: str,
    own: str,
    others: Mapping[str, str],
    rounds: int = 3,
    threads: int = 1,
    output: str | None = None,
    peak_of: str | None = None,
) -> None:
    """Measure.

    Args:
        scan: a scan's file.
        own: folder of the run with scales.
        others: folders of the other runs, by name.
        rounds: how often each is measured.
        threads: of PyTorch.
        output: a CSV file.
        peak_of: print the peak memory of this run alone, in MiB.
    """
    torch.set_num_threads(threads)
    if peak_of is not None:
        Predictor.load(peak_of, device="cpu")(scan)
        # not ru_maxrss, which begins with that of the process that started this one
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        return
    models = {"own scales": own, **others}
    asked: dict[str, tuple[Predictor, str | None]] = {}
    for name, folder in models.items():
        predictor = Predictor.load(folder, device="cpu")
        asked[f"{name}: all"] = predictor, None
        if name == "own scales":
            asked |= {f"{name}: {region}": (predictor, region) for region in predictor.regions}
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, (predictor, region) in asked.items():
            predictor._kept(scan_image(scan, None))
            predictor._encode_once.forget()
            started = time.perf_counter()
            predictor(scan, region)
            seconds[name].append(time.perf_counter() - started)
    rows = [{"asked": name, "seconds": median(values)} for name, values in seconds.items()]
    for name, folder in models.items():
        words = [sys.executable, __file__, scan, own, json.dumps(dict(others)), "--threads", str(threads)]
        peak = subprocess.run([*words, "--peak_of", folder], check=True, capture_output=True, text=True).stdout
        next(row for row in rows if row["asked"] == f"{name}: all")["peak_mib"] = float(peak)
    table = pd.DataFrame(rows)
    if output is not None:
        table.to_csv(output, index=False, float_format="%.4g")
    print(table.to_string(index=False))


if __name__ == "__main__":
    fire.Fire(main)
