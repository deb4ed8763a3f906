"""Grids of experiments: the methods on the hippocampus, on CHAOS and on the phantom.

    python scripts/experiment_grids.py DATA --output pilot            # 13 core-hours without AVX-512
    python scripts/experiment_grids.py DATA --output full --full      # the paper's: for a GPU or a cluster
    conemos experiments pilot/grid.json --output pilot/runs --cores 2
    conemos experiments pilot/shorter.json --output pilot/runs_shorter --cores 2

The first folder holds `hippocampus` and `chaos_t2spir`: `images/`, `labels/` and `partial_annotations.csv` each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fire
import numpy as np
import pandas as pd
from conemos_bundle.cli import datalist, phantom

METHODS = ["conemos", "psl_loss", "dodnet", "multi_layer", "multi_decoder", "individual", "pseudo_label"]
REGIONS = {
    "hippocampus": {"hippocampus": [1, 2], "anterior": [1], "posterior": [2]},
    "chaos_t2spir": {
        "abdominal_organs": [1, 2, 3, 4],
        "liver": [1],
        "kidneys": [2, 3],
        "right_kidney": [2],
        "left_kidney": [3],
        "spleen": [4],
    },
}
ANY_POSE = {"rotation_degrees": 180, "flip_probability": [0.5, 0.5, 0.5]}  # of the phantom's fetus

PILOT_SIZE = 64  # voxels per side of the phantom, of 6 mm: what 2 cores can train on
PILOT_DATASETS: dict[str, dict[str, Any]] = {
    "hippocampus": {"patch_size": [32, 48, 32], "val_interval": 5},  # nearly a whole scan
    "chaos_t2spir": {"spacing": [4.0, 4.0, 7.7], "patch_size": [40, 40, 24], "val_interval": 5},
    # patches of 32³ voxels: .32 on validation after 3,000 steps; 8 mm leave nothing of some eyes
    "phantom": {"patch_size": [48, 48, 48], "max_epochs": 24, "val_interval": 8},
}
PILOT_SETTINGS: dict[str, Any] = {
    "max_epochs": 30,
    "steps_per_epoch": 100,
    "channels": [8, 16, 32, 64],  # half of the paper's
    "bfloat16": False,  # not on every CPU: so is the arithmetic the same everywhere
}
PILOT_RUNS: list[dict[str, Any]] = [
    {"datasets": ["hippocampus"], "methods": METHODS},
    {"datasets": ["phantom", "chaos_t2spir"], "methods": ["conemos", "psl_loss", "dodnet"]},
]
SHORTER_EPOCHS = 10
SHORTER_RUNS: list[dict[str, Any]] = [
    {"methods": ["conemos", "psl_loss", "dodnet"], "fractions": [1.0, 0.25]},
    {"methods": ["conemos"], "conditioned": [1, 15]},
    {"methods": ["mean_teacher"]},
]

FULL_SETTINGS = {"max_epochs": 50, "steps_per_epoch": 200}
FULL_RUNS: list[dict[str, Any]] = [
    {"methods": METHODS, "seeds": [0, 1, 2]},
    {"methods": ["conemos", "dodnet"], "seeds": [0, 1, 2], "fractions": [0.75, 0.5, 0.25]},
    {"methods": ["conemos"], "seeds": [0, 1, 2], "conditioned": [1, 3, 11, 15]},
]


def main(data: str, output: str = "pilot", full: bool = False) -> None:
    """Write the data sets' lists, the phantom, ``grid.json`` and, for the pilot, ``shorter.json``.

    Args:
        data: folder of the two real data sets.
        output: folder for the files.
        full: all methods on all data sets with three seeds and 10,000 steps, the paper's network, phantoms of 3 mm.
    """
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    datasets: dict[str, dict[str, Any]] = {}
    for name, regions in REGIONS.items():
        source = Path(data).absolute() / name
        table = str(source / "partial_annotations.csv")
        datalist(str(source), str(folder / f"{name}.json"), csv=table, regions=regions, name=name)  # type: ignore[arg-type]
        datasets[name] = {"datalist": f"{name}.json", "dataset_dir": str(source), "settings": {}}
    if not (folder / "phantom").exists():
        phantom(str(folder / "phantom"), fidelity="full", size=None if full else PILOT_SIZE, complete_test=True)
    datasets["phantom"] = {"datalist": "phantom/datalist.json", "dataset_dir": "phantom", "settings": ANY_POSE}
    for name, data_set in datasets.items():
        data_set["settings"] = {**data_set["settings"], **({} if full else PILOT_DATASETS[name])}
    settings = {"sampling_rule": "uniform", **(FULL_SETTINGS if full else PILOT_SETTINGS)}
    grids: dict[str, dict[str, Any]] = {
        "grid": {"datasets": datasets, "settings": settings, "runs": FULL_RUNS if full else PILOT_RUNS}
    }
    if not full:  # a grid of its own: one report compares runs of equally many steps
        grids["shorter"] = {
            "datasets": {"hippocampus": datasets["hippocampus"]},
            "settings": {**settings, "max_epochs": SHORTER_EPOCHS},
            "runs": SHORTER_RUNS,
        }
    for name, grid in grids.items():
        (folder / f"{name}.json").write_text(json.dumps(grid, indent=4) + "\n", encoding="utf-8")
        print(f"wrote {folder / f'{name}.json'}")


def scans_and_splits(data: Path) -> pd.DataFrame:
    """The data set's table of scans and splits; one is drawn for the atlas, which has none."""
    table = data / "partial_annotations.csv"
    if table.exists():
        return pd.read_csv(table)
    names = sorted(file.name.removesuffix(".nii.gz") for file in (data / "images").iterdir())
    splits = np.random.default_rng(0).permutation(["train"] * 9 + ["val"] * 2 + ["test"] * 4)
    return pd.DataFrame({"scan": names, "split": splits})


if __name__ == "__main__":
    fire.Fire(main)
