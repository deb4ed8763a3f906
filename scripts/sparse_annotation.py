"""What is learned from sparse annotation, and from knowing that a region is absent.

python scripts/sparse_annotation.py DATA --output sparse     # each run ten minutes on a core; start again to go on

DATA holds ``hippocampus`` (Medical Decathlon, Task04) and ``chaos_t2spir`` (CHAOS), each with ``images/``, ``labels/``
and ``partial_annotations.csv``, whose column ``split`` divides the scans. Six small networks are trained:

- hippocampus: with all slices, with every sixth slice (the others ignored), and with every sixth slice where the others
  count as background, which is what an ignore label did before;
- CHAOS: in half of the training scans the left kidney is painted over with the tissue around it. One network is trained
  with the kidney unknown there; then two go on from its weights, for as many steps: in one of them it is still unknown,
  in the other absent. They are tested on scans with and without it.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import fire
import nibabel
import numpy as np
import pandas as pd
from conemos_bundle.data.datalist import Datalist, write_datalist
from scipy.ndimage import binary_dilation, gaussian_filter

SPLITS = {"train": "training", "validation": "validation", "test": "test"}
HIPPOCAMPUS = {"hippocampus": [1, 2], "anterior": [1], "posterior": [2]}
KIDNEYS = {"right_kidney": [2], "left_kidney": [3]}
IGNORE = 255
# each run's datalist, and the run whose weights it starts from
RUNS = {
    "hippocampus/all": ("hippocampus/all.json", None),
    "hippocampus/sixth": ("hippocampus/sixth.json", None),
    "hippocampus/sixth_as_background": ("hippocampus/sixth_as_background.json", None),
    "chaos/start": ("chaos/unknown.json", None),
    "chaos/unknown": ("chaos/unknown.json", "chaos/start"),
    "chaos/absent": ("chaos/absent.json", "chaos/start"),
}
SMALL = {"channels": "[8,16,32,64]", "val_interval": 4, "bfloat16": "False", "num_workers": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "hippocampus": {**SMALL, "patch_size": "[32,48,32]"},
    "chaos": {
        **SMALL,
        "spacing": "[6,6,8]",
        "patch_size": "[56,56,32]",
    },  # whole scans: left and right can be told apart
}


def scans(source: Path) -> list[tuple[str, str]]:
    """Name and split of each scan."""
    with (source / "partial_annotations.csv").open(newline="") as file:
        return [(row["scan"], SPLITS[row["split"]]) for row in csv.DictReader(file)]


def write(array: np.ndarray, like: nibabel.Nifti1Image, path: Path) -> str:
    """Write a volume on the grid of another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, like.affine), path)
    return str(path.absolute())


def finish(name: str, regions: dict[str, list[int]], splits: dict[str, list[Any]], path: Path) -> None:
    """Write the datalist."""
    write_datalist(Datalist.model_validate({"name": name, "regions": list(regions), **splits}), path)


def prepare_hippocampus(source: Path, output: Path) -> None:
    """Datalists ``all``, ``sixth`` and ``sixth_as_background``: training scans differ, validation and test do not."""
    lists: dict[str, dict[str, list[Any]]] = {
        kind: {split: [] for split in SPLITS.values()} for kind in ("all", "sixth", "sixth_as_background")
    }
    for index, (name, split) in enumerate(scans(source)):
        labels = nibabel.load(source / "labels" / f"{name}.nii.gz")
        known = np.zeros(labels.shape, bool)
        known[:, :, index % 6 :: 6] = True
        values = np.asarray(labels.dataobj).astype(np.uint8)
        files = {"all": str((source / "labels" / f"{name}.nii.gz").absolute())}
        for kind, other in {"sixth": IGNORE, "sixth_as_background": 0}.items():
            sparse = np.where(known, values, other).astype(np.uint8)
            is_training = split == "training"
            files[kind] = write(sparse, labels, output / kind / f"{name}.nii.gz") if is_training else files["all"]
        for kind, file in files.items():
            ignored = {"ignore": IGNORE} if kind == "sixth" and split == "training" else {}
            present = np.unique(np.asarray(nibabel.load(file).dataobj))
            masks = {
                r: {"file": file, "values": v, **ignored} for r, v in HIPPOCAMPUS.items() if np.isin(v, present).any()
            }
            image = str((source / "images" / f"{name}.nii.gz").absolute())
            lists[kind][split].append({"image": image, "subject": name, "masks": masks})
    for kind, splits in lists.items():
        finish(f"hippocampus, {kind}", HIPPOCAMPUS, splits, output / f"{kind}.json")


def paint_over(image: np.ndarray, kidney: np.ndarray, seed: int) -> np.ndarray:
    """The image with the kidney, and its rim of two voxels in each slice, replaced by the tissue around it.

    A blur of what lies outside is carried in, with noise as strong as that of the tissue in a shell around.
    """
    disk = np.ones((3, 3, 1), bool)
    gone = binary_dilation(kidney, disk, iterations=2)
    shell = binary_dilation(gone, disk, iterations=3) & ~gone
    outside = (~gone).astype(float)
    sigma = (4, 4, 0.7)
    smooth = gaussian_filter(image * outside, sigma) / np.maximum(gaussian_filter(outside, sigma), 1e-6)
    residual = (image - gaussian_filter(image, (1, 1, 0)))[shell]
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=image.shape), (0.6, 0.6, 0))
    noise *= 1.4826 * np.median(np.abs(residual)) / noise.std()
    return np.where(gone, np.maximum(smooth + noise, 0), image).astype(np.float32)


def prepare_chaos(source: Path, output: Path) -> None:
    """Datalists ``absent`` and ``unknown``: of every other training scan the left kidney is painted over."""
    lists: dict[str, dict[str, list[Any]]] = {
        kind: {split: [] for split in SPLITS.values()} for kind in ("absent", "unknown")
    }
    for index, (name, split) in enumerate(scans(source)):
        image, labels = (nibabel.load(source / kind / f"{name}.nii.gz") for kind in ("images", "labels"))
        values, file = (
            np.asarray(labels.dataobj).astype(np.uint8),
            str((source / "labels" / f"{name}.nii.gz").absolute()),
        )
        original = {
            "image": str((source / "images" / f"{name}.nii.gz").absolute()),
            "subject": name,
            "masks": {region: {"file": file, "values": value} for region, value in KIDNEYS.items()},
        }
        voxels = paint_over(np.asarray(image.dataobj, np.float32), values == 3, seed=index)
        painted_file = output / "painted" / f"{name}_painted.nii.gz"
        without = write(np.where(values == 3, 0, values).astype(np.uint8), labels, output / "labels" / f"{name}.nii.gz")
        right = {"right_kidney": {"file": without, "values": KIDNEYS["right_kidney"]}}
        painted = {"image": write(voxels, image, painted_file), "subject": name}
        for kind, splits in lists.items():
            says = {"left_kidney": {"absent": True}} if kind == "absent" or split != "training" else {}
            changed = {**painted, "masks": {**right, **says}}
            if split == "training":
                splits[split].append(changed if index % 2 else original)
            elif split == "validation":
                splits[split].append(original)
            else:
                splits[split] += [original, changed]
    for kind, splits in lists.items():
        finish(f"CHAOS, {kind}", KIDNEYS, splits, output / f"{kind}.json")


def run(command: str, datalist: Path, folder: Path, **options: Any) -> None:
    """Call `conemos train` or `conemos evaluate`, whose output goes to a log beside the run."""
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}_{command}.log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "conemos_bundle", command, str(datalist), *arguments],
            stdout=log, stderr=log, check=True,
        )  # fmt: skip


def results(folder: Path) -> dict[str, Any]:
    """Mean Dice per region, and false positives where one is absent."""
    rows = pd.read_csv(folder / "evaluation_test" / "per_scan.csv")
    dice = rows.groupby("region")["dice"].agg(["mean", "count"])
    absent = rows.dropna(subset=["false_positive_ml"])
    return {
        "dice": {str(region): round(float(row["mean"]), 4) for region, row in dice.iterrows()},
        "scans": {str(region): int(row["count"]) for region, row in dice.iterrows()},
        "false_positive_ml": dict(zip(absent["scan"], absent["false_positive_ml"].round(3), strict=True)),
    }


def main(data: str, output: str = "sparse", steps: int = 700, only: str | None = None, seed: int = 0) -> None:
    """Prepare, train, evaluate, and print the results; what is done stays as it is.

    Args:
        data: folder of both data sets.
        output: folder for scans, runs and ``results.json``.
        steps: training steps of each run.
        only: one of `RUNS`; default: all.
        seed: of the trainings.
    """
    root = Path(output).absolute()
    if not (root / "hippocampus" / "all.json").is_file():
        prepare_hippocampus(Path(data) / "hippocampus", root / "hippocampus")
    if not (root / "chaos" / "absent.json").is_file():
        prepare_chaos(Path(data) / "chaos_t2spir", root / "chaos")
    folders = {name: root / "runs" / f"{name.replace('/', '_')}_{seed}" for name in RUNS}
    table = {}
    for name, (datalist, start) in RUNS.items():
        folder = folders[name]
        if only in (None, name) and not (folder / "evaluation_test" / "per_scan.csv").is_file():
            options = {"max_epochs": 4, "steps_per_epoch": steps // 4, "seed": seed, **SETTINGS[name.split("/")[0]]}
            if start is not None:
                options |= {"overlay": "fine_tune", "pretrained_path": folders[start] / "model.pt"}
            run("train", root / datalist, folder, output_dir=folder, **options)
            run("evaluate", root / datalist, folder, run=folder)
        if (folder / "evaluation_test" / "per_scan.csv").is_file():
            table[name] = results(folder)
    (root / f"results_{seed}.json").write_text(json.dumps(table, indent=4) + "\n", encoding="utf-8")
    print(json.dumps(table, indent=4))


if __name__ == "__main__":
    fire.Fire(main)
