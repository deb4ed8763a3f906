"""Does conditioning pay? Methods at equal time, equal steps or equal masks, where it could: on one core each.

    python scripts/does_it_pay.py chaos DATA/chaos_t2spir --output pays --seed 0
    python scripts/does_it_pay.py chaos DATA/chaos_t2spir --output pays --budget steps
    python scripts/does_it_pay.py rare DATA/hippocampus --output pays --only "[conemos, psl_loss]"

All have the time that PSL loss needs for so many steps, or as many steps, or see as many masks as it does. Every run,
with its steps, masks and seconds, stands in ``<study>/<budget>/<budget>.csv``; what is done is left out when started
again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fire
import nibabel
import numpy as np
import pandas as pd
from conemos_bundle.cli import datalist
from conemos_bundle.training.curve import read_curve
from equal_time import conemos, seconds_per_step, table_of
from experiment_grids import REGIONS, scans_and_splits
from scipy import ndimage

EPOCHS = 6
METHODS: dict[str, dict[str, Any]] = {
    "psl_loss": {"overlay": "psl_loss"},
    "conemos": {},
    "conemos_paper": {"n_conditioned": None, "regions_per_scan": 1},  # all conditioned, one mask per scan and step
    "dodnet": {"overlay": "dodnet", "regions_per_scan": 1},
}
TISSUES = {
    "white_matter": [1], "ventricles": [2], "cerebellum": [3], "csf": [4], "gray_matter": [5], "deep_gray_matter": [6],
    "brainstem": [7], "corpus_callosum": [8],
    "all_white_matter": [1, 8], "all_fluid": [2, 4], "hindbrain": [3, 7], "brain": [1, 2, 3, 4, 5, 6, 7, 8],
}  # fmt: skip
MASKS_OF_A_WEEK = 3  # of twelve
SHIFT = 3  # voxels of 1 mm by which a second rater's anterior part is longer
RATERS = {"hippocampus": [1, 2, 3], "anterior_a": [1], "posterior_a": [2, 3], "anterior_b": [1, 2], "posterior_b": [3]}
HIPPOCAMPUS = {"patch_size": [32, 48, 32]}
CHAOS = {"spacing": [4.0, 4.0, 7.7], "patch_size": [40, 40, 24]}
ATLAS = {"spacing": [2.0, 2.0, 2.0], "patch_size": [32, 40, 32]}

Flags = dict[str, set[str]]  # regions that each scan is annotated for


def as_published(table: pd.DataFrame) -> Flags:
    """The annotations of the data set's own table."""
    return {row["scan"]: {region for region in table.columns[2:] if row[region]} for _, row in table.iterrows()}


def rare(table: pd.DataFrame) -> Flags:
    """As many masks, but the whole and the posterior part change places: that one is known in 12 of 140 scans."""
    other = {"hippocampus": "posterior", "posterior": "hippocampus", "anterior": "anterior"}
    return {scan: {other[region] for region in regions} for scan, regions in as_published(table).items()}


def sparse(table: pd.DataFrame) -> Flags:
    """About 1.6 masks per scan, as in the paper's Table 1: of those that are there, at least two of each region."""
    random, flags = np.random.default_rng(0), as_published(table)
    training = list(table.loc[table["split"] == "train", "scan"])
    pairs = [(scan, region) for scan in training for region in sorted(flags[scan])]
    left = {scan: set(flags[scan]) for scan in training}
    for place in random.permutation(len(pairs)):
        scan, region = pairs[place]
        if len(left[scan]) > 1 and sum(region in regions for regions in left.values()) > 2:
            left[scan].discard(region)
        if sum(map(len, left.values())) <= round(1.6 * len(training)):
            break
    return {**flags, **left}


def two_raters(table: pd.DataFrame) -> Flags:
    """Every other scan is annotated by a second rater, who ends the anterior part elsewhere."""
    flags: Flags = {}
    for place, (scan, regions) in enumerate(as_published(table).items()):
        parts = {f"{part}_{'ab'[place % 2]}" for part in ("anterior", "posterior")}
        test = table.loc[table["scan"] == scan, "split"].item() == "test"
        flags[scan] = set(RATERS) if test else parts | (regions & {"hippocampus"})
    return flags


def few_of_many(table: pd.DataFrame) -> Flags:
    """Three of the twelve regions of each training week."""
    random = np.random.default_rng(0)
    turns: Iterator[str] = iter([])
    flags: Flags = {}
    for _, row in table.iterrows():
        flags[row["scan"]] = set(TISSUES)
        if row["split"] == "train":
            flags[row["scan"]] = set()
            while len(flags[row["scan"]]) < MASKS_OF_A_WEEK:  # each region as often as the others
                turns = turns if (region := next(turns, None)) else iter(random.permutation(list(TISSUES)).tolist())
                flags[row["scan"]] |= {region} if region else set()
    return flags


STUDIES: dict[str, dict[str, Any]] = {
    "hippocampus": {"flags": as_published, "regions": REGIONS["hippocampus"], "settings": HIPPOCAMPUS},
    "quarter": {
        "flags": as_published,
        "regions": REGIONS["hippocampus"],
        "settings": {**HIPPOCAMPUS, "fraction": 0.25},
    },
    "tenth": {"flags": as_published, "regions": REGIONS["hippocampus"], "settings": {**HIPPOCAMPUS, "fraction": 0.1}},
    "rare": {"flags": rare, "regions": REGIONS["hippocampus"], "settings": HIPPOCAMPUS},
    "raters": {"flags": two_raters, "regions": RATERS, "settings": HIPPOCAMPUS},
    "chaos": {"flags": as_published, "regions": REGIONS["chaos_t2spir"], "settings": CHAOS},
    "sparse": {"flags": sparse, "regions": REGIONS["chaos_t2spir"], "settings": CHAOS},
    "many": {"flags": few_of_many, "regions": TISSUES, "settings": ATLAS},
}


def main(
    study: str,
    data: str,
    output: str = "pays",
    steps: int = 1800,
    budget: str = "time",
    only: Sequence[str] | None = None,
    seed: int = 0,
    split: str = "test",
    name: str | None = None,
    **options: Any,
) -> None:
    """Train and evaluate each method under one budget.

    Args:
        study: of ``STUDIES``.
        data: folder of its data set.
        output: folder of all studies.
        steps: of PSL loss.
        budget: time, steps or masks.
        only: of ``METHODS``.
        seed: of weights, draws and augmentation.
        split: that is looked at.
        name: of the run, where options differ.
        options: settings of the trainings.
    """
    folder = Path(output).absolute() / study
    file = _datalist(study, Path(data).absolute(), folder)
    common = {"channels": [8, 16, 32, 64], "val_interval": EPOCHS // 2, **STUDIES[study]["settings"]}
    reference = {**common, **METHODS["psl_loss"]}
    for method in [only] if isinstance(only, str) else only or METHODS:
        settings = {**common, **METHODS[method], **options}
        run = folder / budget / "runs" / (name or method) / f"seed{seed}"
        if len(read_curve(run / "curve.csv")) < EPOCHS:
            ratio = 1.0
            if budget == "time" and settings != reference:
                mine, others = seconds_per_step(folder, file, name or method, settings, reference, trials=3)
                ratio = others / mine
            if budget == "masks":
                ratio = _masks_per_step(folder, "psl_loss") / _masks_per_step(folder, method)
            epochs = {"max_epochs": EPOCHS, "steps_per_epoch": round(ratio * steps / EPOCHS), "seed": seed}
            conemos("train", file, **{"output_dir": run, **settings, **epochs})
        if not (run / f"evaluation_{split}" / "per_scan.csv").exists():
            conemos("evaluate", file, run=run, split=split, evaluation_dir=run / f"evaluation_{split}")
        table_of(folder / budget, f"{budget}.csv")
    print(table_of(folder / budget, f"{budget}.csv").to_string(index=False))


def _masks_per_step(folder: Path, method: str) -> float:
    """Of the runs at equal time, which come first."""
    last = read_curve(next(folder.glob(f"time/runs/{method}/*/curve.csv")))[-1]
    return float(last.masks) / last.step


def _datalist(study: str, data: Path, folder: Path) -> Path:
    """The study's datalist: validation scans have what is published, test scans all regions."""
    file = folder / "datalist.json"
    if file.exists():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    about = STUDIES[study]
    source = _second_rater(data, folder / "raters") if study == "raters" else data
    table = scans_and_splits(data)
    flags = about["flags"](table)
    with (folder / "annotated.csv").open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["scan", "split", *about["regions"]])
        for scan, split in table[["scan", "split"]].itertuples(index=False):
            writer.writerow([scan, split, *[int(region in flags[scan]) for region in about["regions"]]])
    regions: Any = about["regions"]
    datalist(str(source), str(file), csv=str(folder / "annotated.csv"), regions=regions, name=study)
    return file


def _second_rater(data: Path, folder: Path) -> Path:
    """Label maps with what two raters call differently: 2 where the anterior part is ``SHIFT`` voxels longer."""
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    (folder / "images").symlink_to(data / "images")
    for file in sorted((data / "labels").glob("*.nii.gz")):
        image: Any = nibabel.load(file)
        labels = np.asarray(image.dataobj)
        near = ndimage.binary_dilation(labels == 1, iterations=SHIFT) & (labels == 2)
        changed = np.where(labels == 2, np.where(near, 2, 3), labels).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(changed, image.affine), folder / "labels" / file.name)
    return folder


if __name__ == "__main__":
    fire.Fire(main)
