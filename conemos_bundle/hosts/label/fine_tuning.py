"""Training a served model further; a worse model never takes its place, and the old one is kept."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from conemos_bundle.data.datalist import read_datalist
from conemos_bundle.errors import UserError
from conemos_bundle.evaluation.tables import EvaluatedRegion
from conemos_bundle.files import part_folder, write_in_one_step
from conemos_bundle.hosts.label.together import replace_together
from conemos_bundle.names import RegionName
from conemos_bundle.runs.record import RECORD
from conemos_bundle.runs.run import read_record, record_bytes, recorded_network
from conemos_bundle.runs.weights import fit_weights, load_weights
from conemos_bundle.training.pretrained import recorded_scales
from conemos_bundle.training.workflows import run_training_config
from conemos_bundle.utils.records import Amount, Share, Strict, Text, one_line, read_json, read_table
from pydantic import Field, TypeAdapter, ValidationError

HISTORY = "history.json"
LEAST_KEPT = 0.8


class Training(Strict):
    """An entry of the history."""

    time: Text = ""
    replaced: bool
    reason: Text = ""
    before: dict[RegionName, Share] = Field(default_factory=dict)  # mean Dice
    after: dict[RegionName, Share] = Field(default_factory=dict)
    not_annotated: list[RegionName] = Field(default_factory=list)  # in the scans that judge
    trained_on: list[str] = Field(default_factory=list)
    max_epochs: int | None = None
    learning_rate: Amount = None
    backup: str = ""
    region: RegionName | None = None  # that the model was taught


_HISTORY = TypeAdapter(list[Training])


def mean_dice(weights: Path, judge: Path, output: Path, device: torch.device) -> dict[str, float]:
    """The mean Dice of each region that ``judge`` has masks of, in its validation scans, on their own grid."""
    options = {
        "datalist": judge,
        "split": "validation",
        "ckpt_path": weights,
        "evaluation_dir": output,
        "device": device,
    }
    run_training_config(["evaluate"], options, logging_file=False)
    values: dict[str, list[float]] = {}
    for row in read_table(EvaluatedRegion, output / "per_scan.csv"):
        if row.dice is not None:
            values.setdefault(row.region, []).append(row.dice)
    return {region: round(fmean(values[region]), 4) for region in sorted(values)}


def verdict(
    before: dict[str, float], after: dict[str, float], unannotated: Sequence[str], judges: Sequence[str] = ()
) -> tuple[bool, str]:
    """Whether the new model may take the old one's place, and why.

    Args:
        before: the old model's mean Dice per region.
        after: the new one's.
        unannotated: regions whose masks are the old model's own; the new one shall still find them.
        judges: names of the scans that judge.
    """
    judged = [region for region in before if region not in unannotated]
    old, new = (sum(means.get(r, math.nan) for r in judged) / max(len(judged), 1) for means in (before, after))
    if not new > old:
        return False, f"mean Dice {old:.4f} before, {new:.4f} after: not better, the old model stays"
    for region in unannotated:
        if after.get(region, 1.0) < LEAST_KEPT:
            return False, (
                f"{region} changed (Dice {after[region]:.2f} with the old masks) where nobody annotated it; "
                f"to have it judged, annotate it in {' or '.join(judges[:3]) or 'another scan'}"
            )
    return True, f"mean Dice {old:.4f} before, {new:.4f} after: the new model is served"


def replace_model(models: Path, new: Path, entry: dict[str, Any]) -> None:
    """Put new weights, their temperature and ``entry`` in the place of the old ones, which go into ``backup/``.

    All or none: whoever is killed in between never judges the new model by what it was trained on.
    """
    entry["backup"] = str(backed_up(models, "model.pt", entry["time"]))
    backed_up(models, RECORD, entry["time"])
    record = read_record(models / "model.pt").model_copy(update={"temperature": read_record(new).temperature})
    contents = {HISTORY: with_entry(models, entry).encode(), RECORD: record_bytes(record)}
    files: dict[str, Callable[[Path], Any]] = {
        f"{models.name}/{name}": partial(Path.write_bytes, data=content) for name, content in contents.items()
    }
    replace_together(models.parent, {**files, f"{models.name}/model.pt": partial(shutil.copyfile, new)})


def backed_up(models: Path, file: str, when: str) -> Path:
    """Copy a file of the model to ``backup/``; the copy's path."""
    name = Path(file)
    backup = models / "backup" / f"{name.stem}_{when}{name.suffix}"
    write_in_one_step(backup, partial(shutil.copyfile, models / file))
    return backup


def add_to_history(models: Path, entry: dict[str, Any]) -> None:
    """Add a training to the history."""
    text = with_entry(models, entry)
    write_in_one_step(models / HISTORY, lambda part: part.write_text(text, encoding="utf-8"))


def with_entry(models: Path, entry: dict[str, Any]) -> str:
    """The history's text with one training more."""
    return json.dumps([*read_history(models), entry], indent=4) + "\n"


def read_history(models: Path) -> list[dict[str, Any]]:
    """What trainings there were, and how they ended.

    Raises:
        UserError: the file cannot be read.
    """
    file = models / HISTORY
    hint = "; put a copy back, or move it away"
    history = read_json(file, hint=hint) if file.exists() else []
    try:
        return [entry.model_dump(exclude_unset=True) for entry in _HISTORY.validate_python(history)]
    except ValidationError as error:
        raise UserError(f"{file}: is no list of trainings ({one_line(error)}){hint}") from error


def trained_on(models: Path) -> set[str]:
    """Names of the scans that the served model was trained on, here on this server."""
    return {name for entry in read_history(models) if entry["replaced"] for name in entry.get("trained_on", [])}


def fine_tune(
    models: Path,
    training_set: Path,
    unannotated: Sequence[str],
    device: torch.device,
    max_epochs: int = 10,
    steps_per_epoch: int = 50,
    learning_rate: float = 1e-4,
    pretrained: bool = True,
) -> dict[str, Any]:
    """Train on saved annotations, compare, and serve the new model if it is better.

    Args:
        models: the bundle's folder with ``model.pt`` and its record, ``run.json``.
        training_set: the folder of `write_training_set`.
        unannotated: what it returned.
        device: where to train.
        max_epochs: number of epochs.
        steps_per_epoch: training steps of one.
        learning_rate: the first one's; it falls to a hundredth.
        pretrained: start from the served model, not anew.

    Returns:
        the entry that is added to ``history.json``: ``replaced``, ``reason``, Dice per region ``before`` and ``after``.

    Raises:
        UserError: the record is missing, or a scan or mask cannot be used.
    """
    weights, run = models / "model.pt", training_set / "run"
    record = read_record(weights)
    fit_weights(recorded_network(record), load_weights(weights), weights)
    regions = read_datalist(training_set / "datalist.json").regions
    if regions != record.regions:  # new weights take the old ones' place, and its record stays
        raise UserError(
            f"{models}: the served regions are {regions}, those of run.json {record.regions}; pack it again"
        )
    before = mean_dice(weights, training_set / "holdout.json", training_set / "before", device)
    options = {
        "datalist": training_set / "datalist.json",
        "output_dir": run,
        "pretrained_path": weights if pretrained else None,
        "network_def": record.network.as_config,
        "inside": record.inside,
        "spacing": record.plan.spacing,
        "scales": recorded_scales(record),
        "patch_size": record.plan.patch_size,
        "max_epochs": max_epochs,
        "steps_per_epoch": steps_per_epoch,
        "learning_rate": learning_rate,
        "device": device,
        "cache": "disk",  # MONAI Label users' data sets outgrow memory
        "num_workers": 0,
    }
    with part_folder(training_set.parent) as cache:
        run_training_config(["fine_tune"], {**options, "cache_dir": cache}, logging_file=False)
    after = mean_dice(run / "model.pt", training_set / "holdout.json", training_set / "after", device)
    judges = [scan.subject for scan in read_datalist(training_set / "holdout.json").validation]
    replaced, reason = verdict(before, after, unannotated, judges)
    entry: dict[str, Any] = {
        "time": time.strftime("%Y%m%d-%H%M%S"), "replaced": replaced, "reason": reason,
        "before": before, "after": after, "not_annotated": list(unannotated),
        "trained_on": [scan.subject for scan in read_datalist(training_set / "datalist.json").training],
        "max_epochs": max_epochs, "learning_rate": learning_rate,
    }  # fmt: skip
    if replaced:
        replace_model(models, run / "model.pt", entry)
    else:
        add_to_history(models, entry)
    return entry
