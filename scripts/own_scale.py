"""Each region at its own scale against one scale for all, at equal training time.

    conemos phantom ph3 --fidelity full --size 128 --complete_test --workers 2
    python scripts/own_scale.py phantom ph3 --output scales/phantom --minutes 15
    python scripts/own_scale.py phantom ph3 --output scales/phantom --only "[own, psl_6mm]" --seed 1   # goes on
    python scripts/own_scale.py chaos DATA/chaos_t2spir --output scales/chaos --minutes 5
    python scripts/own_scale.py atlas DATA/fetal_brain_atlas --output scales/atlas --minutes 5

One thread each. How many steps fit in the time is measured once per method, in turn with one that all are compared with
(`rates.json`), so that a busy machine is fair to all. `scales.csv` has every run: steps, masks, seconds, validation
Dice, and, where it was evaluated, Dice and SD95 (mm, on the scans' own grid) of each region.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import fire
import numpy as np
import pandas as pd
from conemos_bundle.cli import datalist
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.training.curve import read_curve
from experiment_grids import ANY_POSE, PILOT_DATASETS, REGIONS

EPOCHS = 6
TRIAL_STEPS, TRIALS, TRIAL_SCANS = 60, 5, 24
VALIDATED, TESTED = 12, 32  # scans of the phantom: those with most regions annotated; every other one first
ATLAS = {"brain": [1, 2, 3, 4, 5, 6, 7, 8], "cerebellum": [3], "brainstem": [7], "corpus_callosum": [8]}
ATLAS_SPLIT = {"train": 9, "val": 2, "test": 4}
ATLAS_ANNOTATED = 0.5  # of the masks in training

PSL, DODNET, INDIVIDUAL = ({"overlay": name} for name in ("psl_loss", "dodnet", "individual"))
FINE, COARSE = {"spacing": [3, 3, 3], "patch_size": [64, 64, 64]}, {"spacing": [6, 6, 6], "patch_size": [48, 48, 48]}
OWN: dict[str, Any] = {"scales": "own"}
# batches of one spacing cannot hold every region
CASCADE: dict[str, Any] = {**INDIVIDUAL, **OWN, "train::sampler::rule": "uniform", "train::dataloader::batch_size": 2}
METHODS: dict[str, dict[str, dict[str, Any]]] = {
    "phantom": {
        "psl_6mm": {**PSL, **COARSE},
        "psl_3mm": {**PSL, **FINE},
        "dodnet_6mm": {**DODNET, **COARSE},
        "dodnet_3mm": {**DODNET, **FINE},
        "conemos_6mm": COARSE,
        "conemos_3mm": FINE,
        "individual_6mm": {**INDIVIDUAL, **COARSE},
        "own": OWN,
        "individual_own": CASCADE,
    },
    "chaos": {"conemos": PILOT_DATASETS["chaos_t2spir"], "own": OWN},
    "atlas": {"conemos": {}, "own": OWN},
}
COMMON: dict[str, dict[str, Any]] = {"phantom": {"sampling_rule": "uniform", **ANY_POSE}, "chaos": {}, "atlas": {}}


def main(
    data_set: str,
    data: str,
    output: str = "scales",
    minutes: float = 15,
    only: Sequence[str] | None = None,
    seed: int = 0,
    evaluate: bool = False,
    name: str | None = None,
    trials: int = TRIALS,
    **options: Any,
) -> None:
    """Train each method as long as the others, and evaluate it.

    Args:
        data_set: phantom, chaos or atlas.
        data: its folder.
        output: folder of the runs.
        minutes: of training, on one core.
        only: of ``METHODS``.
        seed: of weights, draws and augmentation.
        evaluate: look at the test scans.
        name: of the run, where options differ.
        trials: of each method's rate.
        options: settings of the trainings, as for ``conemos train``.
    """
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    study = STUDIES[data_set](Path(data).absolute(), folder)
    common = {"channels": [8, 16, 32, 64], "val_interval": EPOCHS // 2, **COMMON[data_set]}
    reference = {**common, **next(iter(METHODS[data_set].values()))}
    for method in [only] if isinstance(only, str) else only or METHODS[data_set]:
        settings = {**common, **METHODS[data_set][method], **options}
        run = folder / "runs" / (name or method) / f"seed{seed}"
        steps = _steps(folder, study, name or method, settings, reference, minutes, trials)
        if len(read_curve(run / "curve.csv")) < EPOCHS:
            epochs = {"max_epochs": EPOCHS, "steps_per_epoch": max(1, steps // EPOCHS), "seed": seed}
            _conemos("train", study, **{"output_dir": run, **settings, **epochs})
        if evaluate and not (run / "evaluation_test" / "per_scan.csv").exists():
            _conemos("evaluate", study, run=run, evaluation_dir=run / "evaluation_test")
        _table(folder)
    print(_table(folder).to_string(index=False))


def _phantom(data: Path, folder: Path) -> Path:
    found = read_datalist(data / "datalist.json")
    fullest = sorted(found.validation, key=lambda scan: -len(scan.masks))  # else no scan with the uterus
    chosen = {"validation": fullest[:VALIDATED], "test": (found.test[::2] + found.test[1::2])[:TESTED]}
    write_datalist(found.model_copy(update=chosen), data / "own_scale_study.json")
    return data / "own_scale_study.json"


def _chaos(data: Path, folder: Path) -> Path:
    regions: Any = REGIONS["chaos_t2spir"]
    table = str(data / "partial_annotations.csv")
    datalist(str(data), str(folder / "datalist.json"), csv=table, regions=regions, name="chaos")
    return folder / "datalist.json"


def _atlas(data: Path, folder: Path) -> Path:
    """Half of the masks of the training weeks are kept, at least one a week; validation and test have all."""
    random = np.random.default_rng(0)
    names = sorted(file.name.removesuffix(".nii.gz") for file in (data / "images").iterdir())
    splits = random.permutation([split for split, number in ATLAS_SPLIT.items() for _ in range(number)])
    with (folder / "annotated.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", "split", *ATLAS])
        for name, split in zip(names, splits, strict=True):
            annotated = random.random(len(ATLAS)) < (ATLAS_ANNOTATED if split == "train" else 1)
            annotated[random.integers(len(ATLAS))] = True
            writer.writerow([name, split, *annotated.astype(int)])
    regions: Any = ATLAS
    datalist(str(data), str(folder / "datalist.json"), csv=str(folder / "annotated.csv"), regions=regions, name="atlas")
    return folder / "datalist.json"


STUDIES = {"phantom": _phantom, "chaos": _chaos, "atlas": _atlas}


def _steps(
    folder: Path,
    study: Path,
    method: str,
    settings: dict[str, Any],
    reference: dict[str, Any],
    minutes: float,
    trials: int = TRIALS,
) -> int:
    """How many steps fit in the time: seconds per step over those of the reference, times what those were first."""
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
    return int(60 * minutes / rates[method])


def _trial(run: Path, study: Path, settings: dict[str, Any]) -> float:
    """Seconds per step, of a second epoch: on a few scans, since loading all takes longer."""
    few, data = study.with_name(f"{study.stem}_trial.json"), read_datalist(study)
    fullest = sorted(data.training, key=lambda scan: -len(scan.masks))
    rare = [next(scan for scan in fullest if region in scan.masks) for region in data.regions]
    chosen = {"training": list({scan.image: scan for scan in [*rare, *fullest[:TRIAL_SCANS]]}.values())}
    write_datalist(data.model_copy(update=chosen), few)
    short = {"max_epochs": 2, "steps_per_epoch": TRIAL_STEPS, "val_interval": 99}
    _conemos("train", few, **{"output_dir": run, **settings, **short})
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
