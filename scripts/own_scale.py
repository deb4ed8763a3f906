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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
import numpy as np
from conemos_bundle.cli import datalist
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.training.curve import read_curve
from equal_time import conemos, is_evaluated, steps_in, table_of
from experiment_grids import ANY_POSE, PILOT_DATASETS, REGIONS

EPOCHS = 6
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
        steps = steps_in(folder, study, name or method, settings, reference, minutes)
        if len(read_curve(run / "curve.csv")) < EPOCHS:
            epochs = {"max_epochs": EPOCHS, "steps_per_epoch": max(1, steps // EPOCHS), "seed": seed}
            conemos("train", study, **{"output_dir": run, **settings, **epochs})
        if evaluate and not is_evaluated(run / "evaluation_test"):
            conemos("evaluate", study, run=run, evaluation_dir=run / "evaluation_test")
        table_of(folder, "scales.csv")
    print(table_of(folder, "scales.csv").to_string(index=False))


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


if __name__ == "__main__":
    fire.Fire(main)
