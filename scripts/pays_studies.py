"""The studies of does_it_pay.py: which masks of a data set a network is given, and their datalists.

Test scans have every region; validation scans what is published. A study of folds tests each scan of its data set once:
each seed has the next fold.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from conemos_bundle.cli import datalist
from experiment_grids import REGIONS, scans_and_splits
from scipy import ndimage

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
    flags = {scan: {other[region] for region in regions} for scan, regions in as_published(table).items()}
    return _all_of_the_test(table, flags, REGIONS["hippocampus"])


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
        flags[scan] = {f"{part}_{'ab'[place % 2]}" for part in ("anterior", "posterior")} | (regions & {"hippocampus"})
    return _all_of_the_test(table, flags, RATERS)


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


def _all_of_the_test(table: pd.DataFrame, flags: Flags, regions: dict[str, list[int]]) -> Flags:
    test = set(table.loc[table["split"] == "test", "scan"])
    return {scan: set(regions) if scan in test else known for scan, known in flags.items()}


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
STUDIES |= {f"{study}_folds": {**STUDIES[study], "folds": 4} for study in ("chaos", "sparse")}


OTHER_FOLDERS = {"chaos": "chaos_t2spir", "sparse": "chaos_t2spir", "many": "fetal_brain_atlas"}  # by first word


def folder_of(study: str) -> str:
    """The data set of a study, by the name of its folder."""
    return OTHER_FOLDERS.get(study.split("_")[0], "hippocampus")


def write_study(study: str, data: Path, folder: Path, seed: int = 0) -> Path:
    """The study's datalist, written once, by whoever comes first; all of it is there, or nothing.

    Args:
        study: of ``STUDIES``.
        data: folder of its data set.
        folder: of the study.
        seed: that is to be trained, which chooses the fold of a study of folds.
    """
    fold = seed % folds if (folds := STUDIES[study].get("folds")) else None
    if fold is not None:
        folder = folder / f"fold{fold}"
    if not (folder / "datalist.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))  # beside it: relative paths stay right
        _write(study, data, part, fold or 0)
        part.chmod(0o755)
        try:
            part.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(part)
    return folder / "datalist.json"


def folded(table: pd.DataFrame, fold: int) -> pd.DataFrame:
    """The same splits and annotations, each for the scan that is ``fold`` times the number of test scans further on.

    Args:
        table: of all scans, one split after the other.
        fold: 0 leaves it as it is.
    """
    by = fold * int((table["split"] == "test").sum())
    return table.assign(scan=np.roll(table["scan"].to_numpy(), -by))


def _write(study: str, data: Path, folder: Path, fold: int) -> None:
    flags, regions = STUDIES[study]["flags"], STUDIES[study]["regions"]
    source = _second_rater(data, folder / "raters") if study == "raters" else data
    table = folded(scans_and_splits(data), fold)
    known = flags(table)
    with (folder / "annotated.csv").open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["scan", "split", *regions])
        for scan, split in table[["scan", "split"]].itertuples(index=False):
            writer.writerow([scan, split, *[int(region in known[scan]) for region in regions]])
    csv_file = str(folder / "annotated.csv")
    datalist(str(source), str(folder / "datalist.json"), csv=csv_file, regions=regions, name=study)


def _second_rater(data: Path, folder: Path) -> Path:
    """Label maps with what two raters call differently: 2 where the anterior part is ``SHIFT`` voxels longer."""
    (folder / "labels").mkdir(parents=True)
    (folder / "images").symlink_to(data / "images")
    for file in sorted((data / "labels").glob("*.nii.gz")):
        image: Any = nibabel.load(file)
        labels = np.asarray(image.dataobj)
        near = ndimage.binary_dilation(labels == 1, iterations=SHIFT) & (labels == 2)
        changed = np.where(labels == 2, np.where(near, 2, 3), labels).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(changed, image.affine), folder / "labels" / file.name)
    return folder
