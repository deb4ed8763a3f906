"""A new region from a handful of scans: frozen variants, fine-tuning, from scratch, jointly, and a plain UNet.

    python scripts/growing.py chaos DATA/chaos_t2spir --output growing
    python scripts/growing.py hippocampus DATA/hippocampus --output growing
    python scripts/growing.py atlas DATA/fetal_brain_atlas --output growing
    python scripts/growing.py atlas DATA/fetal_brain_atlas --output growing --new brainstem
    python scripts/growing.py chaos DATA/chaos_t2spir --output growing --only "[film, scratch]" --numbers "[4]"

Every variant learns the new region from the same scans, with the same steps, patches and augmentation; which scans they
are is drawn anew for each of the `draws`. `growing.csv` has every run: Dice of the new region on the test scans and,
for those that change the old ones, theirs. One thread each; what is done is left out when started again.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
import numpy as np
import pandas as pd
import torch
from conemos_bundle.cli import datalist as make_datalist
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.data.reduced import one_region
from conemos_bundle.training.curve import read_curve
from equal_time import conemos, is_evaluated
from experiment_grids import scans_and_splits

SMALL = {"channels": [8, 16, 32, 64], "num_workers": 0}
STUDIES: dict[str, dict[str, Any]] = {
    "chaos": {
        "regions": {"liver": [1], "kidneys": [2, 3], "spleen": [4]},
        "new": "spleen",
        "numbers": [2, 4, 8],
        "settings": {"spacing": [4.0, 4.0, 7.7], "patch_size": [40, 40, 24]},
    },
    "chaos_left": {
        "regions": {"liver": [1], "right_kidney": [2], "spleen": [4], "left_kidney": [3]},
        "new": "left_kidney",
        "numbers": [2, 4, 8],
        "settings": {"spacing": [4.0, 4.0, 7.7], "patch_size": [40, 40, 24]},
    },
    "hippocampus": {
        "regions": {"hippocampus": [1, 2], "posterior": [2], "anterior": [1]},
        "new": "anterior",
        "numbers": [5, 10, 20],
        "settings": {"patch_size": [32, 48, 32]},
    },
    "atlas": {
        "regions": {
            "white_matter": [1], "ventricles": [2], "cerebellum": [3], "csf": [4], "gray_matter": [5],
            "deep_gray_matter": [6], "brainstem": [7], "corpus_callosum": [8],
        },
        "new": "cerebellum",
        "numbers": [2, 4, 8],
        "settings": {"spacing": [2.0, 2.0, 2.0], "patch_size": [32, 40, 32]},
    },
}  # fmt: skip
BASE_STEPS, STEPS, EPOCHS = 1500, 600, 6
GROWN: dict[str, dict[str, Any]] = {
    "film": {"capacity": "film"},
    "low_rank": {},
    "decoder": {"capacity": "decoder"},
    "rehearsed": {"capacity": "all"},
}
OTHERS = ("scratch", "fine_tuned", "joint", "unet_last_layer", "unet_fine_tuned")


def main(
    study: str,
    data: str,
    output: str = "growing",
    only: Sequence[str] | None = None,
    draws: Sequence[int] = (0, 1, 2),
    numbers: Sequence[int] | None = None,
    split: str = "test",
    name: str | None = None,
    new: str | None = None,
    **options: Any,
) -> None:
    """Train the bases, then each variant on each number and draw of scans.

    Args:
        study: of ``STUDIES``.
        data: its folder.
        output: folder of all studies.
        only: of ``GROWN`` and ``OTHERS``.
        draws: of the scans.
        numbers: of scans; default: the study's.
        split: that is looked at.
        name: of the variant, where options differ.
        new: the region that the base does not know; default: the study's.
        options: settings of the trainings of what is in ``only``.
    """
    about = STUDIES[study]
    folder = Path(output).absolute() / (study if new in (None, about["new"]) else f"{study}_{new}")
    folder.mkdir(parents=True, exist_ok=True)
    about = {**about, "new": new or about["new"]}
    full = all_masks(study, Path(data).absolute(), folder)
    for n in numbers or about["numbers"]:
        for draw in draws:
            few = _few(folder, full, about["new"], n, draw)
            for variant in only or [*GROWN, *OTHERS]:
                run = folder / "runs" / f"{name or variant}_{n}_{draw}"
                if not is_evaluated(run / f"evaluation_{split}"):
                    started = time.perf_counter()
                    if not (run / "seconds").exists():
                        _train(variant, folder, full, few, run, about, draw, options)
                        (run / "seconds").write_text(f"{time.perf_counter() - started:.0f}\n")
                    conemos("evaluate", full, run=run, split=split, evaluation_dir=run / f"evaluation_{split}")
                _table(folder, about["new"], split)
    table = _table(folder, about["new"], split)
    print(table.pivot_table(index="variant", columns="scans", values=["dice", "seconds"]).round(3).to_string())


def all_masks(study: str, data: Path, folder: Path) -> Path:
    """All masks of all scans, in the splits of the data set's table, or drawn."""
    target = folder / "datalist.json"
    regions = STUDIES[study]["regions"]
    if not target.exists():
        splits = scans_and_splits(data)[["scan", "split"]].itertuples(index=False)
        with (folder / "annotated.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["scan", "split", *regions])
            writer.writerows([scan, split, *[1] * len(regions)] for scan, split in splits)
        make_datalist(str(data), str(target), csv=str(folder / "annotated.csv"), regions=regions, name=study)
    return target


def _few(folder: Path, full: Path, new: str, number: int, draw: int) -> Path:
    """Some training scans with the new region alone, and all scans of validation."""
    target = folder / f"few_{number}_{draw}.json"
    data = one_region(read_datalist(full), new)
    chosen = np.random.default_rng(draw).permutation(len(data.training))[:number]
    training = [data.training[i] for i in sorted(chosen)]
    write_datalist(data.model_copy(update={"training": training, "dataset_dir": scans_root(full)}), target)
    return target


def scans_root(file: Path) -> str:
    """The folder where a datalist's paths start."""
    return str((file.parent / (read_datalist(file).dataset_dir or "")).resolve())


def _old(folder: Path, full: Path, new: str) -> Path:
    """All scans, without the masks of the new region."""
    target = folder / "old.json"
    data = read_datalist(full)

    def without(scans: Sequence[Any]) -> list[Any]:
        return [s.model_copy(update={"masks": {r: m for r, m in s.masks.items() if r != new}}) for s in scans]

    splits = {split: without(data.scans(split)) for split in ("training", "validation", "test")}
    regions = [region for region in data.regions if region != new]
    write_datalist(data.model_copy(update={"regions": regions, "dataset_dir": scans_root(full), **splits}), target)
    return target


def _base(folder: Path, full: Path, about: dict[str, Any], overlay: str | None) -> Path:
    run = folder / ("base" if overlay is None else f"base_{overlay}")
    if not (run / "finished").exists():
        words = {"overlay": overlay} if overlay else {}
        conemos("train", _old(folder, full, about["new"]), output_dir=run, **_settings(about, BASE_STEPS), **words)
        (run / "finished").touch()
    return run


def _settings(about: dict[str, Any], steps: int) -> dict[str, Any]:
    epochs = {"max_epochs": EPOCHS, "steps_per_epoch": steps // EPOCHS, "val_interval": EPOCHS // 3}
    return {**SMALL, **about["settings"], **epochs}


def _train(
    variant: str,
    folder: Path,
    full: Path,
    few: Path,
    run: Path,
    about: dict[str, Any],
    seed: int,
    options: dict[str, Any],
) -> None:
    settings = {**_settings(about, STEPS), "seed": seed}
    new = about["new"]
    if variant in GROWN:
        base = _base(folder, full, about, None)
        settings = {key: value for key, value in settings.items() if key not in ("channels", "spacing", "patch_size")}
        words = {"model": base, "region": new, "output": run, **GROWN[variant], **settings, **options}
        conemos("add-region", few, **words)
    elif variant == "scratch":
        conemos("train", few, output_dir=run, overlay="individual", **{**settings, **options})
    elif variant == "joint":
        data, some = read_datalist(_old(folder, full, new)), read_datalist(few)
        masks = {scan.subject: scan.masks for scan in some.training}
        training = [s.model_copy(update={"masks": {**s.masks, **masks.get(s.subject, {})}}) for s in data.training]
        update = {"regions": [*data.regions, new], "training": training, "validation": read_datalist(full).validation}
        file = few.with_name(f"joint_{few.stem}.json")
        write_datalist(data.model_copy(update={**update, "test": []}), file)
        steps = _settings(about, BASE_STEPS + STEPS)
        conemos("train", file, output_dir=run, **{**steps, "seed": seed, **options})
    else:
        kind = "unet" if variant.startswith("unet") else "film"
        base = _base(folder, full, about, "psl_loss" if kind == "unet" else None)
        _tune_all(variant, base, few, run, {**settings, **options})


def _tune_all(variant: str, base: Path, few: Path, run: Path, settings: dict[str, Any]) -> None:
    """A network's weights as another one's beginning: all of them are trained, or a new last layer alone."""
    weights = torch.load(base / "model.pt", weights_only=True)
    begin = run.with_name(f"{run.name}_begin.pt")
    begin.parent.mkdir(parents=True, exist_ok=True)
    if variant.startswith("unet"):  # its last layer: the mean of the old regions'
        for name in ("backbone.final.weight", "backbone.final.bias"):
            weights[name] = weights[name].mean(0, keepdim=True)
        words: dict[str, Any] = {"overlay": "[psl_loss,fine_tune]"}
    else:
        weights["embedding.0.weight"] = weights["embedding.0.weight"].mean(1, keepdim=True)
        words = {"overlay": "fine_tune"}
    torch.save(weights, begin)
    new = read_datalist(few).regions[0]
    words |= {"pretrained_path": begin, "pretrained_regions": f"['{new}']"}
    if variant == "unet_last_layer":
        words["optimizer::params"] = "$list(@network.backbone.final.parameters())"
    conemos("train", few, output_dir=run, **{**settings, **words})


def _seconds(run: Path) -> float | None:
    """What a run took: the file ``seconds`` has the last part alone of one that was cut, its curve all steps."""
    curves = [read_curve(folder / "curve.csv") for folder in (run, run / "training")]
    spent = [curve[-1].seconds for curve in curves if curve]
    file = run / "seconds"
    return max([float(file.read_text()), *spent]) if file.exists() else None


def _table(folder: Path, new: str, split: str) -> pd.DataFrame:
    rows = []
    for file in sorted(folder.glob(f"runs/*/evaluation_{split}/per_scan.csv")):
        run = file.parent.parent
        variant, number, draw = run.name.rsplit("_", 2)
        dice = pd.read_csv(file).groupby("region")["dice"].mean()
        row: dict[str, Any] = {"variant": variant, "scans": int(number), "draw": int(draw), "dice": dice.get(new)}
        row["seconds"] = _seconds(run)
        row |= {f"dice_{region}": value for region, value in dice.items() if region != new}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(folder / f"growing_{split}.csv", index=False, float_format="%.5g")
    return table


if __name__ == "__main__":
    fire.Fire(main)
