"""Which layers to condition, how FiLM begins, one mask per step or all: by validation, each at equal steps.

    python scripts/choose_defaults.py DATA --output defaults                       # hippocampus, 9 settings, seed 0
    python scripts/choose_defaults.py DATA --output defaults --data_sets "[phantom]" --seeds "[0, 1]"
    python scripts/choose_defaults.py DATA --output defaults --seconds 3000        # the next time it goes on

DATA holds `hippocampus` and `chaos_t2spir`, as for scripts/experiment_grids.py. One training at a time; what is done is
skipped (its curve suffices, so that another machine can go on), what was cut is resumed. Test scans are not looked at.
`defaults.csv` has every run with its masks and seconds.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
import pandas as pd
from conemos_bundle.cli import datalist, phantom
from conemos_bundle.training.curve import read_curve
from experiment_grids import ANY_POSE, PILOT_DATASETS, PILOT_SIZE, REGIONS

LOOKS = 4  # at the validation scans
VARIANTS: dict[str, dict[str, Any]] = {
    "N 7, all": {"n_conditioned": 7, "regions_per_scan": "all"},
    "PSL loss": {"overlay": "psl_loss"},
    "N 15, one": {"n_conditioned": 15, "regions_per_scan": 1},
    "N 7, one": {"n_conditioned": 7, "regions_per_scan": 1},
    "N 7, all, identity": {"n_conditioned": 7, "regions_per_scan": "all", "network_def::film_init": "identity"},
    "N 15, all": {"n_conditioned": 15, "regions_per_scan": "all"},
    "N 3, all": {"n_conditioned": 3, "regions_per_scan": "all"},
    "N 11, all": {"n_conditioned": 11, "regions_per_scan": "all"},
    "N 1, all": {"n_conditioned": 1, "regions_per_scan": "all"},
}


def main(
    data: str,
    output: str = "defaults",
    data_sets: Sequence[str] = ("hippocampus",),
    seeds: Sequence[int] = (0,),
    steps: int = 800,
    channels: Sequence[int] = (8, 16, 32, 64),
    variants: Sequence[str] = tuple(VARIANTS),
    seconds: float = float("inf"),
) -> None:
    """Train each variant and write the table.

    Args:
        data: folder of the data sets.
        output: folder of the runs.
        data_sets: of hippocampus, chaos_t2spir, phantom.
        seeds: of each variant.
        steps: of each training, of batches of 2.
        channels: features per level; default: half of the paper's.
        variants: of ``VARIANTS``.
        seconds: after which no further training starts.
    """
    folder, ends = Path(output), time.monotonic() + seconds
    lists = {name: _datalist(name, Path(data).absolute(), folder) for name in data_sets}
    for seed in seeds:
        for name in data_sets:
            for variant in variants:
                run = folder / "runs" / name / variant.replace(", ", "_").replace(" ", "") / f"seed{seed}"
                if time.monotonic() > ends:
                    break
                if len(read_curve(run / "curve.csv")) < LOOKS:
                    _train(lists[name], run, {**_settings(name, steps, channels, seed), **VARIANTS[variant]})
                _table(folder)
    print(_table(folder).to_string(index=False))


def _datalist(name: str, data: Path, folder: Path) -> Path:
    if name == "phantom":
        if not (folder / name).exists():
            phantom(str(folder / name), fidelity="full", size=PILOT_SIZE, complete_test=True)
        return folder / name / "datalist.json"
    file, source = folder / f"{name}.json", data / name
    folder.mkdir(parents=True, exist_ok=True)
    regions: Any = REGIONS[name]
    datalist(str(source), str(file), csv=str(source / "partial_annotations.csv"), regions=regions, name=name)
    return file


def _settings(name: str, steps: int, channels: Sequence[int], seed: int) -> dict[str, Any]:
    own = {key: value for key, value in PILOT_DATASETS[name].items() if key not in ("max_epochs", "val_interval")}
    epochs = {"max_epochs": LOOKS, "steps_per_epoch": steps // LOOKS, "val_interval": 1}
    return {**own, **epochs, **(ANY_POSE if name == "phantom" else {}), "channels": list(channels), "seed": seed}


def _train(datalist: Path, run: Path, options: dict[str, Any]) -> None:
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    command = [sys.executable, "-m", "conemos_bundle", "train", str(datalist), "--output_dir", str(run), *words]
    subprocess.run(command, check=True)


def _table(folder: Path) -> pd.DataFrame:
    rows = []
    for file in sorted(folder.glob("runs/*/*/*/curve.csv")):
        curve = read_curve(file)
        data_set, variant, seed = file.relative_to(folder / "runs").parts[:3]
        dice = [100 * epoch.validation_dice for epoch in curve if epoch.validation_dice is not None]
        last = curve[-1]
        row = {"data set": data_set, "variant": variant, "seed": seed[4:], "steps": last.step, "masks": last.masks}
        rows.append({**row, "seconds": last.seconds, "validation": dice[-1], "best": max(dice)})
    table = pd.DataFrame(rows)
    table.to_csv(folder / "defaults.csv", index=False, float_format="%.4g")
    return table


if __name__ == "__main__":
    fire.Fire(main)
