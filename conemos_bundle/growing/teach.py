"""Teaching a trained model a region; what it could before stays, to the bit."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from conemos_bundle.data import one_region, read_datalist, scan_items, scans_folder
from conemos_bundle.data.plan import look_at_scans
from conemos_bundle.errors import UsageError, UserError
from conemos_bundle.evaluation.warn import unfinished
from conemos_bundle.files import one_writer, write_in_one_step
from conemos_bundle.growing.everything import BEGIN, train_everything
from conemos_bundle.growing.identity import check_unchanged
from conemos_bundle.growing.merge import joined, model_files
from conemos_bundle.growing.model import SHAPE, Growing, read_growing
from conemos_bundle.growing.region_file import RegionFile, region_path, region_state, write_region
from conemos_bundle.names import region_name, same_file
from conemos_bundle.networks.added_region import CAPACITIES, AddedRegion, own_weights, rescaled
from conemos_bundle.runs.record import MOST_ADDED, Source, Taught
from conemos_bundle.runs.run import read_record, recorded_network
from conemos_bundle.runs.subjects import SUBJECTS, known_subjects
from conemos_bundle.runs.weights import fit_weights, load_weights
from conemos_bundle.training.workflows import run_training_config

logger = logging.getLogger(__name__)
ALL = "all"  # capacity
TRAINING = "training"  # folder of the training, in that of the grown model
# settings that are not the user's: spacing, patches and network are the model's, the others are this function's
OF_THE_MODEL = {
    "datalist", "output_dir", "pretrained_path", "pretrained_regions", "pretrained", "region", "capacity",
    "change_rank", "spacing", "patch_size", "scales", "plan", "network_def", "network", "data", "inside", *SHAPE,
}  # fmt: skip


def add_region(
    datalist: str | os.PathLike[str],
    model: str | os.PathLike[str],
    region: str,
    output: str | os.PathLike[str],
    capacity: str = "low_rank",
    rank: int = 4,
    log: bool = False,
    **options: Any,
) -> Path:
    """Teach a model a region from a handful of scans; neither the old scans nor the old masks are needed.

    All that the model has learned is frozen. The region gets γ and β of its own after every convolution, and, with
    ``low_rank``, a small change of each. Before it is saved, the old regions' outputs are compared to the bit.

    With ``all`` nothing is frozen: all weights are trained on, the old regions by what the model itself predicts on the
    new scans; what they lose is written to ``old_regions.csv``.

    Args:
        datalist: whose ``region`` is taught; other regions in it are left alone.
        model: folder of a finished run, or of a bundle.
        region: a name that the model does not know.
        output: folder of the grown model, which is a run's; the training goes to ``training/`` in it, and the region
            alone to ``<region>.region.pt``.
        capacity: what is learned: ``film``, ``low_rank`` or ``decoder`` (see `AddedRegion`), or ``all``.
        rank: of the changes.
        log: set up logging as ``conemos train`` does: a line per epoch.
        options: settings of the training, as for `train`: ``max_epochs``, ``minutes``, ``learning_rate``, …

    Returns:
        ``output``.

    Raises:
        UserError: the model cannot grow, knows the region, no scan is annotated for it, or what the training says.

    Example::

        >>> from conemos_bundle.growing import add_region
        >>> add_region("datalist.json", "runs/mine", "spleen", "runs/grown", max_epochs=10)  # doctest: +SKIP
    """
    target = Path(output).expanduser()
    grown = read_growing(model)
    name = _checked(datalist, grown, region, capacity, rank, options)
    _reject_another_model(target, Path(model).expanduser(), grown, capacity)
    if told := unfinished(grown.folder):
        logger.warning(told)
    settings = {
        "datalist": Path(datalist),
        "output_dir": target / TRAINING,
        "pretrained_path": grown.folder / "model.pt",
        "pretrained": grown.hash,  # that the training begins from what the region is joined with
        "region": name,
        "capacity": capacity,
        "change_rank": rank,  # "rank" is that of a process among several
        "spacing": list(grown.record.plan.spacing),
        "patch_size": list(grown.record.plan.patch_size),
        **{key: value for key, value in grown.shape.items() if key != "in_channels"},
        **options,
    }
    if capacity == ALL:
        train_everything(datalist, grown, name, target, log, **options)
        return target
    with one_writer(target):
        run_training_config(["add_region"], settings, logging_file=log)
        file = trained_region(target / TRAINING, name, grown)
        branches = {old: dict(backbone.state_dict()) for old, backbone in grown.added.items()}
        branches[name] = region_state(file, grown, target)
        record, network = joined(grown, branches, {name: file.taught})
        check_unchanged(grown, network, record.regions)
        write_region(file, region_path(target, name))
        subjects = known_subjects([grown.folder, target / TRAINING])
        assert subjects is not None
        write_in_one_step(target / SUBJECTS, partial(Path.write_bytes, data=subjects))
        for place, write in model_files(record, network).items():
            write_in_one_step(target / place, write)
    return target


def _checked(
    datalist: str | os.PathLike[str], model: Growing, region: str, capacity: str, rank: int, options: Mapping[str, Any]
) -> str:
    """The region's name, if all is well, before any work is done."""
    if capacity not in (*CAPACITIES, ALL):
        raise UsageError(f"--capacity {capacity!r}: use one of {', '.join((*CAPACITIES, ALL))}")
    if type(rank) is not int or not 1 <= rank <= 1024:
        raise UsageError(f"--rank {rank}: give a whole number from 1 to 1024")
    try:
        name = region_name(str(region))
    except ValueError as error:
        raise UsageError(f"--region: {error}") from error
    for setting in options:
        if setting.split("::")[0] in OF_THE_MODEL:
            raise UsageError(f"--{setting}: is the model's, or told otherwise; leave it out")
    if name in model.record.regions:
        later = (
            "'conemos merge --remove' takes it out, to be taught anew"
            if model.added
            else "'conemos train' with fine_tune trains it on"
        )
        raise UserError(f"--region {name}: the model knows it already; {later}")
    if pair := same_file([*model.record.regions, name]):
        raise UserError(f"--region {name}: the model knows {pair[0]}, which differs by case alone; take another name")
    if len(model.added) >= MOST_ADDED:
        raise UserError(f"{model.folder}: has {MOST_ADDED} added regions, as many as a model takes")
    data = read_datalist(datalist)
    scans = scan_items(one_region(data, name), "training", scans_folder(datalist, data, options.get("dataset_dir")))
    channels, expected = look_at_scans(scans).in_channels, model.record.plan.in_channels
    if channels != expected:
        raise UserError(f"{datalist}: its scans have {channels} channel(s), those of {model.folder} {expected}")
    return name


def _reject_another_model(target: Path, model: Path, grown: Growing, capacity: str) -> None:
    """Nobody's weights are written over; where all weights are trained, an unfinished training of these goes on."""
    if target.resolve() in (model.resolve(), grown.folder.resolve()):
        raise UserError(f"{target}: is the model itself; pass another --output")
    goes_on = capacity == ALL and (target / BEGIN / "model.pt").is_file()
    if (target / "model.pt").exists() and not goes_on:
        raise UserError(f"{target}: holds a model already; pass another --output")


def trained_region(run: Path, region: str, model: Growing) -> RegionFile:
    """What a finished training of `AddedRegion` learned.

    Args:
        run: its folder.
        region: its region.
        model: that the region is for.

    Raises:
        UserError: a file of it cannot be read.
    """
    weights = run / "model.pt"
    record = read_record(weights)
    network = recorded_network(record)
    assert isinstance(network, AddedRegion)
    fit_weights(network, load_weights(weights), weights)
    own, temperature = own_weights(network), record.temperature
    if temperature is not None:  # a model has one for all regions: that of the others stays
        own = rescaled(own, (model.record.temperature or 1.0) / temperature)
    learned = {"capacity", "rank"} if record.network.capacity == "low_rank" else {"capacity"}
    told = {**record.data.model_dump(include={*Source.model_fields}), **record.network.model_dump(include=learned)}
    return RegionFile(region, model.hash, own, Taught.model_validate(told))
