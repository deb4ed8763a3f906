"""All weights learn a new region; the old ones are rehearsed by what the model itself predicts on the new scans."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from conemos_bundle.data import Datalist, one_region, read_datalist, scan_items, scans_folder, write_datalist
from conemos_bundle.data.datalist import MaskSource, Scan
from conemos_bundle.errors import UserError
from conemos_bundle.evaluation.tables import read_rows
from conemos_bundle.files import write_in_one_step
from conemos_bundle.growing.merge import model_files
from conemos_bundle.growing.model import Growing
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.runs.record import RECORD, Run, as_dictionary
from conemos_bundle.runs.run import annotated, read_record, record_bytes
from conemos_bundle.runs.subjects import SUBJECTS, known_subjects
from conemos_bundle.runs.weights import load_weights
from conemos_bundle.training.pseudo_labels import unlabeled, with_pseudo_labels
from conemos_bundle.training.workflows import run_training_config

logger = logging.getLogger(__name__)
LOST = "old_regions.csv"
BEGIN = "begin"  # folder of the weights that a training begins with


def train_everything(
    datalist: str | os.PathLike[str], model: Growing, region: str, folder: Path, log: bool, **options: Any
) -> pd.DataFrame:
    """Train all weights of a model on the new region and on its own predictions of the old ones.

    Where an old region is annotated in the new scans, that counts and not the prediction. Validation scans are
    rehearsed too: the mean over all regions chooses the epoch.

    Args:
        datalist: of the new region.
        model: that is trained on.
        region: the new one.
        folder: of the run.
        log: set up logging.
        options: settings of the training.

    Returns:
        what old regions lost: a row per region, ``dice`` between the masks of before and after, mean over the
        validation scans, and ``scans``, how many; ``false_positive_ml``, the mean volume after where the model found
        nothing before, and ``empty_scans``, how many.

    Raises:
        UserError: the model has grown before, it finds nothing of an old region in the new scans, the folder holds
            another training, or what the training says.
    """
    if model.added:
        raise UserError(
            f"--capacity all: {model.folder} has added regions ({', '.join(model.added)}), which build on frozen "
            "weights; take --capacity low_rank, or the model without them (conemos merge --remove)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    root = scans_folder(datalist, read_datalist(datalist), options.pop("dataset_dir", None))
    data = _with_old_regions(read_datalist(datalist), model, region)
    begin = _beginning(folder / BEGIN, model, region)
    where = {name: options[name] for name in ("device",) if name in options}
    taught = _rehearse(data, root, folder, model, "training", where)
    _reject_unseen(taught, model)
    before = _rehearse(_without_old_regions(data, model), root, folder, model, "validation", where)
    rehearsed = folder / "rehearsed_training.json"
    write_datalist(taught.model_copy(update={"validation": _validation(data, before)}), rehearsed)
    settings = {
        "datalist": rehearsed,
        "dataset_dir": root,
        "output_dir": folder,
        "pretrained_path": begin / "model.pt",
        "channels": list(model.record.network.channels),
        "patch_size": list(model.record.plan.patch_size),
        "inside": dict(model.record.inside),
        "network_def": {**model.record.network.as_config, "num_regions": len(data.regions)},
        **options,
    }
    run_training_config(["fine_tune"], settings, logging_file=log)
    _correct_record(folder, data, model)
    lost = _lost(before, root, folder, model, where)
    write_in_one_step(folder / LOST, lambda part: lost.to_csv(part, index=False, float_format="%.4f"))
    return lost


def _correct_record(folder: Path, data: Datalist, model: Growing) -> None:
    """Of the model's own masks the record counts none, and the temperature, too, is not theirs but the model's.

    Fitted to its own masks, it would call every prediction certain.
    """
    record = read_record(folder / "model.pt").model_copy(update={"temperature": model.record.temperature})
    record.data.annotated = annotated(data)  # type: ignore[assignment]
    write_in_one_step(folder / RECORD, partial(Path.write_bytes, data=record_bytes(record)))


def _with_old_regions(data: Datalist, model: Growing, region: str) -> Datalist:
    """The scans that tell of the new region, and what they say of the old ones."""
    chosen = one_region(data, region)
    old = model.record.regions
    kept: dict[str, Any] = {}
    for split in ("training", "validation", "test"):
        whole = {str(scan.image): scan.masks for scan in data.scans(split)}
        kept[split] = [
            scan.model_copy(
                update={"masks": {**{r: m for r, m in whole[str(scan.image)].items() if r in old}, **scan.masks}}
            )
            for scan in chosen.scans(split)
        ]
    return data.model_copy(update={"regions": [*old, region], "inside": {}, **kept})


def _reject_unseen(rehearsed: Datalist, model: Growing) -> None:
    unseen = [r for r in model.record.regions if not any(r in scan.annotated for scan in rehearsed.training)]
    if unseen:
        raise UserError(
            f"--capacity all: the model finds nothing of {', '.join(unseen)} in the new scans, so that cannot be "
            "rehearsed; add scans that show it, or take --capacity low_rank"
        )


def _without_old_regions(data: Datalist, model: Growing) -> Datalist:
    """The validation scans with no mask of an old region, all of which the model is to predict."""
    old = model.record.regions
    bare = [
        scan.model_copy(update={"masks": {r: mask for r, mask in scan.masks.items() if r not in old}})
        for scan in data.validation
    ]
    return data.model_copy(update={"validation": bare})


def _validation(data: Datalist, before: Datalist) -> list[Scan]:
    """The validation scans with what is annotated, and else with the model's masks of before."""
    return [
        scan.model_copy(update={"masks": {**predicted.masks, **scan.masks}})
        for scan, predicted in zip(data.validation, before.training, strict=True)
    ]


def _rehearse(
    data: Datalist, root: Path, folder: Path, model: Growing, split: str, where: Mapping[str, Any]
) -> Datalist:
    """The split, as training scans, with the model's masks of the regions that nobody annotated.

    A scan that is labeled stays so.
    """
    labels, asked = folder / f"rehearsed_{split}", folder / f"{split}.json"
    # predicted are the training scans of a datalist
    only = data.model_copy(
        update={"training": data.scans(split), **({} if split == "training" else {"validation": []})}
    )
    write_datalist(only, asked)
    if unlabeled(scan_items(only, "training", root), labels):
        logger.info(f"the model labels its old regions in {len(only.training)} {split} scans")
        labeling = {
            "datalist": asked, "dataset_dir": root, "output_dir": labels, "evaluation_dir": labels, "split": "training",
            "ckpt_path": model.folder / "model.pt", **where,
        }  # fmt: skip
        run_training_config(["evaluate", "label_unknown"], labeling, logging_file=False)
    return with_pseudo_labels(only, root, labels)


def _beginning(folder: Path, model: Growing, region: str) -> Path:
    """A model of one region more, which begins as the mean of the old ones.

    Raises:
        UserError: the folder holds the beginning of another training.
    """
    arguments: dict[str, Any] = {name: value for name, value in model.base.arguments.items() if name != "spacings"}
    network = FiLMUNet(**{**arguments, "num_regions": model.base.num_regions + 1})
    state = model.base.state_dict()
    names = [name for name in state if name == "embedding.0.weight"] or [n for n in state if "projection.weight" in n]
    for name in names:
        state[name] = torch.cat([state[name], state[name].mean(1, keepdim=True)], 1)
    network.load_state_dict(state)
    told = as_dictionary(model.record)
    told |= {
        "regions": [*model.record.regions, region],
        "network": {**told["network"], "num_regions": network.num_regions},
    }
    told["data"] = {name: text for name, text in told.get("data", {}).items() if name != "annotated"}
    if (folder / "model.pt").is_file():
        found = load_weights(folder / "model.pt")
        same = found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in found)
        if not same or read_record(folder / "model.pt").regions != told["regions"]:
            raise UserError(f"{folder.parent}: holds the training of another model or region; pass another --output")
    folder.mkdir(exist_ok=True)
    if (subjects := known_subjects([model.folder])) is not None:
        write_in_one_step(folder / SUBJECTS, partial(Path.write_bytes, data=subjects))
    for name, write in model_files(Run.model_validate(told), network).items():
        write_in_one_step(folder / name, write)
    return folder


def _lost(before: Datalist, root: Path, folder: Path, model: Growing, where: Mapping[str, Any]) -> pd.DataFrame:
    """Dice between the old regions' masks of before and after, on the validation scans.

    Where the model found nothing of a region before, what it finds after is a false positive.
    """
    regions = model.record.regions
    columns = {"dice": ("dice", "mean"), "scans": ("dice", "count")}
    columns |= {"false_positive_ml": ("false_positive_ml", "mean"), "empty_scans": ("false_positive_ml", "count")}
    rows = pd.DataFrame({"region": [], "dice": [], "false_positive_ml": []}, dtype=float)
    if before.training:
        nothing = {region: MaskSource(absent=True) for region in regions}
        compared, asked = folder / "compared", folder / "rehearsed_validation.json"
        told = [scan.model_copy(update={"masks": {**nothing, **scan.masks}}) for scan in before.training]
        write_datalist(before.model_copy(update={"training": told}), asked)
        settings: dict[str, Any] = {
            "datalist": asked,
            "dataset_dir": root,
            "output_dir": compared,
            "evaluation_dir": compared,
            "split": "training",
            "ckpt_path": folder / "model.pt",
            **where,
        }
        run_training_config(["evaluate"], settings, logging_file=False)
        rows = read_rows(compared / "per_scan.csv").astype({"false_positive_ml": float})
    found = rows.groupby("region").agg(**columns).reindex(regions)
    counts = ["scans", "empty_scans"]
    found[counts] = found[counts].fillna(0).astype(int)
    return found.rename_axis("region").reset_index()
