"""The hippocampus over three sites, one region annotated at each: every site alone, federated, pooled.

    python scripts/federated_study.py DATA/hippocampus --output federated_study      # needs the extra federated
    python scripts/federated_study.py DATA/hippocampus --output federated_study --only "[federated]" --seeds "[1]"

A seed draws the scans of the sites, none at two of them, and is that of the trainings. Each site has `TRAINING` scans
and `VALIDATION` more to choose the round or epoch on, with the masks of its region alone. Features, spacing, patches,
learning rate and its cosine are those of all variants; `pooled` takes as many steps as the sites together,
`pooled_short` and each site of `alone` as many as one site. `federated.csv` has Dice and SD95 (mm) of each
region on the test scans, which have all masks. One thread a process; what is done is left out when started again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
import numpy as np
import pandas as pd
import torch
from conemos_bundle.cli import evaluate
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.data.reduced import one_region
from equal_time import conemos, is_evaluated
from growing import all_masks, scans_root

REGIONS = ("hippocampus", "anterior", "posterior")
TRAINING, VALIDATION = 20, 4
ROUNDS, LOCAL_STEPS = 8, 50
SETTINGS = {"channels": [8, 16, 32], "spacing": [2.0, 2.0, 2.0], "patch_size": [16, 24, 16], "cross_entropy": 1.0}
FEDERATED: dict[str, dict[str, Any]] = {
    "federated": {},
    "plain": {"region_wise": False},
    "federated_psl_loss": {"method": "psl_loss"},
    "federated_often": {"rounds": 40, "local_steps": 10},  # as many steps; what travels is five times as much
    "plain_often": {"rounds": 40, "local_steps": 10, "region_wise": False},
}
PSL = {"overlay": "psl_loss"}
POOLED: dict[str, tuple[int, dict[str, Any]]] = {  # steps, in those of one site, and settings
    "pooled": (len(REGIONS), {}),
    "pooled_psl_loss": (len(REGIONS), PSL),
    "pooled_short": (1, {}),
}


def main(
    data: str,
    output: str = "federated_study",
    only: Sequence[str] = ("alone", *FEDERATED, *POOLED),
    seeds: Sequence[int] = (0, 1),
    rounds: int = ROUNDS,
    local_steps: int = LOCAL_STEPS,
) -> None:
    """Train and test each variant.

    Args:
        data: folder of the data set.
        output: folder of the study.
        only: of alone, ``FEDERATED`` and ``POOLED``.
        seeds: of draws and trainings.
        rounds: of the federation; epochs of the others.
        local_steps: of a site in a round.
    """
    torch.set_num_threads(1)
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    full = all_masks("hippocampus", Path(data).absolute(), folder)
    for seed in seeds:
        sites = draw_sites(full, folder / f"seed{seed}", seed)
        for variant in only:
            for name, command, files, options in trainings(variant, sites, rounds, local_steps):
                run = folder / "runs" / f"{name}_{seed}"
                if not (run / "seconds").exists():
                    started = time.perf_counter()
                    conemos(command, *files, **SETTINGS, **options, seed=seed, **{_OUTPUT[command]: run})
                    (run / "seconds").write_text(f"{time.perf_counter() - started:.0f}\n")
                if not is_evaluated(run / "evaluation_test"):
                    evaluate(str(full), run=str(run), evaluation_dir=str(run / "evaluation_test"))
            table(folder)
    print(table(folder).to_string(index=False))


def draw_sites(full: Path, folder: Path, seed: int) -> dict[str, Path]:
    """The datalist of each site, which names all regions and has the masks of one, and that of all scans together."""
    folder.mkdir(exist_ok=True)
    data, generator = read_datalist(full), np.random.default_rng(seed)
    order = {split: generator.permutation(len(data.scans(split))) for split in ("training", "validation")}
    files, pooled = {}, {"training": [], "validation": []}
    for i, region in enumerate(REGIONS):
        drawn = {}
        for split, number in (("training", TRAINING), ("validation", VALIDATION)):
            chosen = sorted(order[split][i * number : (i + 1) * number])
            drawn[split] = [one_region(data, region).scans(split)[j] for j in chosen]
            pooled[split] += drawn[split]
        files[region] = _write(data, folder / f"{region}.json", full, drawn)
    return {**files, "pooled": _write(data, folder / "pooled.json", full, pooled)}


def _write(data: Any, file: Path, full: Path, scans: dict[str, Any]) -> Path:
    write_datalist(data.model_copy(update={"dataset_dir": scans_root(full), "test": [], **scans}), file)
    return file


_OUTPUT = {"train": "output_dir", "federate": "output"}


def trainings(
    variant: str, sites: dict[str, Path], rounds: int, local_steps: int
) -> list[tuple[str, str, list[Path], dict[str, Any]]]:
    """What a variant trains: name of the run, command, datalists, options."""
    if variant in FEDERATED:
        options = {"rounds": rounds, "local_steps": local_steps, **FEDERATED[variant]}
        return [(variant, "federate", [sites[region] for region in REGIONS], options)]
    times, settings = POOLED.get(variant, (1, {}))
    options = {"max_epochs": rounds, "steps_per_epoch": local_steps * times, "num_workers": 0, **settings}
    if variant in POOLED:
        return [(variant, "train", [sites["pooled"]], options)]
    alone = []
    for region in REGIONS:
        file = sites[region].with_name(f"{region}_alone.json")
        write_datalist(one_region(read_datalist(sites[region]), region), file)
        alone.append((f"alone-{region}", "train", [file], options))
    return alone


def table(folder: Path) -> pd.DataFrame:
    """Dice and SD95 of each run on the test scans; the sites alone in one row."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for file in sorted(folder.glob("runs/*/evaluation_test/per_scan.csv")):
        name, _, seed = file.parent.parent.name.rpartition("_")
        variant, _, region = name.partition("-")
        row = rows.setdefault((variant, int(seed)), {"variant": variant, "seed": int(seed), "seconds": 0})
        row["seconds"] += int((file.parent.parent / "seconds").read_text())
        scans = pd.read_csv(file)
        for known, of_region in scans.groupby("region"):
            if region in ("", known):
                row |= {f"{metric}_{known}": of_region[metric].mean() for metric in ("dice", "sd95_mm")}
    columns = ["variant", "seed", "seconds", *(f"{metric}_{r}" for metric in ("dice", "sd95_mm") for r in REGIONS)]
    found = pd.DataFrame(list(rows.values()), columns=columns)
    found.to_csv(folder / "federated.csv", index=False, float_format="%.4f")
    return found


if __name__ == "__main__":
    fire.Fire(main)
