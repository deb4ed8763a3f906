"""Teaching a served model a region that annotators drew; the others are computed as before, to the bit."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.data.datalist import read_datalist
from conemos_bundle.errors import UserError
from conemos_bundle.files import part_folder
from conemos_bundle.growing import add_region
from conemos_bundle.hosts.label.app_folder import grown_configs, json_bytes
from conemos_bundle.hosts.label.fine_tuning import HISTORY, add_to_history, backed_up, mean_dice, with_entry
from conemos_bundle.hosts.label.together import replace_together
from conemos_bundle.names import region_name, same_file
from conemos_bundle.runs.record import RECORD
from conemos_bundle.runs.run import read_record
from conemos_bundle.utils.records import read_json

LEAST_SCANS = 2  # one learns, one judges


def asked_region(named: object, region_names: Sequence[str], submitted: Callable[[], Sequence[str]]) -> str:
    """The region that a model shall be taught.

    Args:
        named: what the request says; empty: the one name that annotators submitted and the model does not know.
        region_names: what it knows.
        submitted: gives the names that annotators submitted and the model does not know.

    Raises:
        UserError: the name cannot be a region's, the model knows it, or it is not said which of several.
    """
    if not named:
        found = submitted()
        if len(found) != 1:
            there = f"there are {', '.join(found)}" if found else "no submitted label holds a region that is new"
            raise UserError(f"region: name the region that the model shall be taught; {there}")
        named = found[0]
    try:
        name = region_name(str(named).strip())
    except ValueError as error:
        raise UserError(f"region: {error}") from error
    if pair := same_file([*region_names, name]):
        raise UserError(f"region: the model knows {pair[0]} already; train the model itself to make it better")
    return name


def teach(
    folder: Path,
    training_set: Path,
    region: str,
    device: torch.device,
    max_epochs: int = 20,
    steps_per_epoch: int = 50,
    learning_rate: float = 0.01,
    least_dice: float = 0.5,
) -> dict[str, Any]:
    """Teach a served model a region, judge that by the scans held out, and serve it if it is good enough.

    Args:
        folder: the bundle in the app.
        training_set: the folder of `write_training_set`, of that region alone.
        region: its name, which the model does not know.
        device: where to train.
        max_epochs: number of epochs.
        steps_per_epoch: training steps of one.
        learning_rate: the first one's; it falls to a hundredth.
        least_dice: mean Dice on the scans held out that the new region has to have.

    Returns:
        the entry that is added to ``history.json``: ``region``, ``replaced``, ``reason``, its Dice ``after``.

    Raises:
        UserError: the model cannot grow, or a scan or mask cannot be used.
    """
    models, grown = folder / "models", training_set / "grown"
    data = read_datalist(training_set / "datalist.json")
    with part_folder(training_set.parent) as cache:
        add_region(
            training_set / "datalist.json", models, region, grown, max_epochs=max_epochs,
            steps_per_epoch=steps_per_epoch, learning_rate=learning_rate, device=device, cache="disk", cache_dir=cache,
            num_workers=0,
        )  # fmt: skip
    after = mean_dice(grown / "model.pt", training_set / "holdout.json", training_set / "after", device)
    dice = after.get(region, 0.0)
    replaced = dice >= least_dice
    outcome = "it is served" if replaced else f"below {least_dice:g}, the old model stays"
    entry: dict[str, Any] = {
        "time": time.strftime("%Y%m%d-%H%M%S"), "replaced": replaced,
        "reason": f"{region}: mean Dice {dice:.4f} on the scans held out: {outcome}", "region": region,
        "before": {}, "after": after, "not_annotated": [],
        "trained_on": [scan.subject for scan in data.training],
        "max_epochs": max_epochs, "learning_rate": learning_rate,
    }  # fmt: skip
    if replaced:
        _serve(folder, grown, entry)
    else:
        add_to_history(models, entry)
    return entry


def _serve(folder: Path, grown: Path, entry: dict[str, Any]) -> None:
    """Put the grown model, its record and configuration, and the history, into their places."""
    models, configs = folder / "models", folder / "configs"
    entry["backup"] = str(backed_up(models, "model.pt", entry["time"]))
    backed_up(models, RECORD, entry["time"])
    files: dict[str, Callable[[Path], Any]] = {
        f"models/{name}": partial(shutil.copyfile, grown / name) for name in ("model.pt", RECORD)
    }
    changed = grown_configs(
        read_json(configs / "inference.json"), read_json(configs / "metadata.json"), read_record(grown / "model.pt")
    )
    contents = {
        f"configs/{name}": json_bytes(c) for name, c in zip(("inference.json", "metadata.json"), changed, strict=True)
    }
    contents[f"models/{HISTORY}"] = with_entry(models, entry).encode()
    files |= {place: partial(Path.write_bytes, data=data) for place, data in contents.items()}
    replace_together(folder, files)
