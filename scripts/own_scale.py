"""Each region at its own scale against one scale for all, at equal training time.

    conemos phantom ph3 --fidelity full --size 128 --complete_test --workers 2
    python scripts/own_scale.py ph3/datalist.json --output scales/phantom --minutes 15
    python scripts/own_scale.py ph3/datalist.json --output scales/phantom --only "[own, psl_6mm]" --seed 1   # goes on

One thread each. How many steps fit in the time is measured once per method, in turn with one that all are compared with
(`rates.json`), so that a busy machine is fair to all. `scales.csv` has every run: steps, masks, seconds, validation
Dice, and, where it was evaluated, Dice and SD95 (mm, on the scans' own grid) of each region.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import fire
import pandas as pd
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.training.curve import read_curve

EPOCHS = 6
TRIAL_STEPS, TRIALS = 12, 3
REFERENCE = "psl_6mm"
ANY_POSE = {"rotation_degrees": 180, "flip_probability": [0.5, 0.5, 0.5]}
COMMON = {"channels": [8, 16, 32, 64], "sampling_rule": "uniform", "val_interval": EPOCHS // 2, **ANY_POSE}
FINE, COARSE = {"spacing": [3, 3, 3], "patch_size": [64, 64, 64]}, {"spacing": [6, 6, 6], "patch_size": [48, 48, 48]}
OWN = {"spacing": [3, 3, 3], "patch_size": [40, 40, 40], "scales": "own"}
METHODS: dict[str, dict[str, Any]] = {
    "psl_3mm": {"overlay": "psl_loss", **FINE},
    "psl_6mm": {"overlay": "psl_loss", **COARSE},
    "dodnet_3mm": {"overlay": "dodnet", **FINE},
    "dodnet_6mm": {"overlay": "dodnet", **COARSE},
    "conemos_3mm": FINE,
    "conemos_6mm": COARSE,
    "individual_3mm": {"overlay": "individual", **FINE},
    "individual_6mm": {"overlay": "individual", **COARSE},
    "own": OWN,
    "individual_own": {"overlay": "individual", **OWN},
}


def main(
    datalist: str,
    output: str = "scales",
    minutes: float = 15,
    only: Sequence[str] = tuple(METHODS),
    seed: int = 0,
    validated: int = 12,
    tested: int = 32,
    evaluate: bool = False,
    name: str | None = None,
    **options: Any,
) -> None:
    """Train each method as long as the others, and evaluate it.

    Args:
        datalist: of the data set, beside which its scans lie.
        output: folder of the runs.
        minutes: of training, on one core.
        only: of ``METHODS``.
        seed: of weights, draws and augmentation.
        validated: validation scans, those with most regions annotated.
        tested: test scans, every other one first, that many mothers are among them.
        evaluate: look at the test scans.
        name: of the run, where options differ.
        options: settings of the trainings, as for ``conemos train``.
    """
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    data = read_datalist(datalist)
    fullest = sorted(data.validation, key=lambda scan: -len(scan.masks))  # else no scan with the uterus
    chosen = {"validation": fullest[:validated], "test": (data.test[::2] + data.test[1::2])[:tested]}
    study = Path(datalist).absolute().with_name("own_scale_study.json")
    write_datalist(data.model_copy(update=chosen), study)
    for method in [only] if isinstance(only, str) else only:
        settings = {**COMMON, **METHODS[method], **options}
        run = folder / "runs" / (name or method) / f"seed{seed}"
        steps = _steps(folder, study, name or method, settings, minutes)
        if len(read_curve(run / "curve.csv")) < EPOCHS:
            epochs = {"max_epochs": EPOCHS, "steps_per_epoch": max(1, steps // EPOCHS), "seed": seed}
            _conemos("train", study, **{"output_dir": run, **settings, **epochs})
        if evaluate and not (run / "evaluation_test" / "per_scan.csv").exists():
            _conemos("evaluate", study, run=run, evaluation_dir=run / "evaluation_test")
        _table(folder)
    print(_table(folder).to_string(index=False))


def _steps(folder: Path, study: Path, method: str, settings: dict[str, Any], minutes: float) -> int:
    """How many steps fit in the time: seconds per step over those of the reference, times what those are when quiet."""
    file = folder / "rates.json"
    rates: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    if method not in rates:
        reference = {**COMMON, **METHODS[REFERENCE]}
        mine, others = [], []
        for trial in range(TRIALS):
            mine.append(_trial(folder / "trials" / f"{method}{trial}", study, settings))
            others.append(_trial(folder / "trials" / f"{method}{trial}_reference", study, reference))
        rates.setdefault(REFERENCE, median(others))
        rates[method] = rates[REFERENCE] * median(a / b for a, b in zip(mine, others, strict=True))
        file.write_text(json.dumps(rates, indent=1) + "\n")
    return int(60 * minutes / rates[method])


def _trial(run: Path, study: Path, settings: dict[str, Any]) -> float:
    short = {"max_epochs": 2, "steps_per_epoch": TRIAL_STEPS, "val_interval": 99, "cache": "disk"}
    _conemos("train", study, **{"output_dir": run, "cache_dir": run.parents[1] / "cache", **settings, **short})
    curve = read_curve(run / "curve.csv")
    return (curve[-1].seconds - curve[0].seconds) / (curve[-1].step - curve[0].step)


def _conemos(command: str, study: Path, **options: Any) -> None:
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    environment = {**os.environ, **threads}
    subprocess.run([sys.executable, "-m", "conemos_bundle", command, str(study), *words], check=True, env=environment)


def _table(folder: Path) -> pd.DataFrame:
    rows = []
    for file in sorted(folder.glob("runs/*/*/curve.csv")):
        curve = read_curve(file)
        method, seed = file.parts[-3:-1]
        dice = [epoch.validation_dice for epoch in curve if epoch.validation_dice is not None]
        last = curve[-1]
        row: dict[str, Any] = {"method": method, "seed": seed[4:], "steps": last.step, "masks": last.masks}
        row |= {"seconds": last.seconds, "validation": dice[-1] if dice else None}
        metrics = file.parent / "evaluation_test" / "per_scan.csv"
        if metrics.exists():
            means = pd.read_csv(metrics).groupby("region")[["dice", "sd95_mm"]].mean()
            row |= {"dice": means["dice"].mean(), "sd95_mm": means["sd95_mm"].mean()}
            row |= {f"{name}_{region}": value for name in means for region, value in means[name].items()}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "scales.csv", index=False, float_format="%.5g")
    return table


if __name__ == "__main__":
    fire.Fire(main)
