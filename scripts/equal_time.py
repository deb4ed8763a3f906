"""How many steps of each method fit in one core's minutes, and a table of runs: for scripts that compare methods."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.training.curve import read_curve

TRIAL_STEPS, TRIALS, TRIAL_SCANS = 60, 5, 24
Settings = dict[str, Any]


def steps_in(folder: Path, study: Path, method: str, settings: Settings, reference: Settings, minutes: float) -> int:
    """How many steps fit in the time; as for `seconds_per_step`."""
    return int(60 * minutes / seconds_per_step(folder, study, method, settings, reference)[0])


def seconds_per_step(
    folder: Path, study: Path, method: str, settings: Settings, reference: Settings, trials: int = TRIALS
) -> tuple[float, float]:
    """Those of a method and of the reference: measured in turn, so that a busy machine is fair to all.

    Args:
        folder: of the study; ``rates.json`` in it keeps what was measured.
        study: its datalist.
        method: by which its rate is kept.
        settings: of its training.
        reference: settings of the method that all are compared with.
        trials: of each.

    Returns:
        the ratio of the method to the reference, times what the reference needed first; and that.
    """
    file = folder / "rates.json"
    rates: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    if method not in rates:
        mine, others = [], []
        for trial in range(trials):
            mine.append(_trial(folder / "trials" / f"{method}{trial}", study, settings))
            others.append(_trial(folder / "trials" / f"{method}{trial}_reference", study, reference))
        rates.setdefault("reference", median(others))
        ratio = 1.0 if settings == reference else median(a / b for a, b in zip(mine, others, strict=True))
        rates[method] = rates["reference"] * ratio
        file.write_text(json.dumps(rates, indent=1) + "\n")
    return rates[method], rates["reference"]


def _trial(run: Path, study: Path, settings: Settings) -> float:
    """Seconds per step, of a second epoch: on a few scans, since loading all takes longer, of as many masks as all."""
    few, data = study.with_name(f"{study.stem}_trial.json"), read_datalist(study)
    drawn = [data.training[i] for i in np.random.default_rng(0).permutation(len(data.training))]
    rare = [next(scan for scan in drawn if region in scan.masks) for region in data.regions]
    chosen = {"training": list({scan.image: scan for scan in [*rare, *drawn[:TRIAL_SCANS]]}.values())}
    write_datalist(data.model_copy(update=chosen), few)
    short = {"max_epochs": 2, "steps_per_epoch": TRIAL_STEPS, "val_interval": 99}
    conemos("train", few, **{"output_dir": run, **settings, **short})
    curve = read_curve(run / "curve.csv")
    return (curve[-1].seconds - curve[0].seconds) / (curve[-1].step - curve[0].step)


def conemos(command: str, *files: Path, program: Sequence[str] = ("-m", "conemos_bundle"), **options: Any) -> None:
    """A command of this package, or of another program that takes the same, in a process of one thread."""
    words = [*map(str, files), *(word for option, value in options.items() for word in (f"--{option}", str(value)))]
    environment = {**os.environ, **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}}
    subprocess.run([sys.executable, *program, command, *words], check=True, env=environment)


def copy_file(file: Path, target: Path) -> None:
    """Copy a file of a run to where it is kept, whose folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


def is_evaluated(folder: Path) -> bool:
    """Whether the evaluation in a folder is there, of all scans."""
    summary = folder / "summary.json"
    return summary.exists() and "failed" not in json.loads(summary.read_text())


def table_of(folder: Path, name: str) -> pd.DataFrame:
    """Every run in ``runs/<method>/seed<n>``: steps, masks, seconds, validation Dice; Dice and SD95 of the test scans.

    Args:
        folder: of the study.
        name: of the CSV that is written there.
    """
    rows = []
    for file in sorted(folder.glob("runs/*/*/curve.csv")):
        curve = read_curve(file)
        method, seed = file.parts[-3:-1]
        dice = [epoch.validation_dice for epoch in curve if epoch.validation_dice is not None]
        last = curve[-1]
        row: dict[str, Any] = {"method": method, "seed": seed[4:], "steps": last.step, "masks": last.masks}
        row |= {"seconds": last.seconds, "validation": max(dice, default=None)}  # that of model.pt
        metrics = file.parent / "evaluation_test" / "per_scan.csv"
        if metrics.exists():
            means = pd.read_csv(metrics).groupby("region")[["dice", "sd95_mm"]].mean()
            row |= {"dice": means["dice"].mean(), "sd95_mm": means["sd95_mm"].mean()}
            row |= {f"{name}_{region}": value for name in means for region, value in means[name].items()}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(folder / name, index=False, float_format="%.5g")
    return table
