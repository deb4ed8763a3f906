"""A model and regions that were added to it, by anyone, in any order, as one model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.files import folder_in_one_step, sweep
from conemos_bundle.growing.identity import check_unchanged
from conemos_bundle.growing.model import Growing, read_growing
from conemos_bundle.growing.region_file import read_region, region_state
from conemos_bundle.names import region_name, same_file, told_apart
from conemos_bundle.networks import GrownUNet
from conemos_bundle.networks.region_order import keep_regions
from conemos_bundle.runs.record import MOST_ADDED, RECORD, Run, Taught, as_dictionary
from conemos_bundle.runs.run import machine, record_bytes, recorded_versions
from conemos_bundle.runs.subjects import SUBJECTS, known_subjects
from torch import nn


def merge_regions(
    model: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    remove: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
) -> Path:
    """Write a run folder with a model and more regions, fewer, or others' names.

    What stays of the model is computed by the same weights as before; that its outputs are equal to the bit is checked
    before anything is written.

    Args:
        model: folder of a finished run, or of a bundle.
        files: ``.region.pt`` files that were made with it.
        output: the folder to make.
        remove: regions to leave out.
        rename: new names of regions, by their old ones.

    Returns:
        the folder.

    Raises:
        UserError: a file cannot be read or was made for another model, a region is unknown or there twice, or the
            folder exists.

    Example::

        >>> from conemos_bundle.growing import merge_regions
        >>> merge_regions("runs/mine", ["spleen.region.pt", "liver.region.pt"], "runs/merged")  # doctest: +SKIP
    """
    target = Path(output).expanduser()
    sweep(target.absolute().parent)
    if target.exists():
        raise UserError(f"{output}: exists; pass another --output")
    grown = read_growing(model)
    branches = {region: dict(backbone.state_dict()) for region, backbone in grown.added.items()}
    taught: dict[str, Taught] = {}
    for path in files:
        file = read_region(path)
        if file.region in [*grown.base_regions, *branches]:
            raise UserError(
                f"{path}: the model knows {file.region} already; leave the file out, or --remove that first"
            )
        branches[file.region], taught[file.region] = region_state(file, grown, path), file.taught
    record, network = joined(grown, branches, taught, remove, rename or {})
    check_unchanged(grown, network, record.regions, rename or {}, remove)
    subjects = known_subjects([grown.folder], complete=not files)
    with folder_in_one_step(target) as part:
        for name, write in model_files(record, network).items():
            write(part / name)
        if subjects is not None:
            (part / SUBJECTS).write_bytes(subjects)
    return target


def joined(
    model: Growing,
    branches: Mapping[str, Mapping[str, torch.Tensor]],
    taught: Mapping[str, Taught],
    remove: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
) -> tuple[Run, nn.Module]:
    """A model with added regions, and its record.

    Args:
        model: what it was.
        branches: all added regions, and their backbones' weights.
        taught: with what those were taught that the model's record does not know.
        remove: regions to leave out.
        rename: new names, by the old ones.

    Raises:
        UserError: a region to be removed or renamed is unknown, none is left that was not added, two have one name, or
            there are too many.
    """
    rename = dict(rename or {})
    every = [*model.base_regions, *branches]
    for region in [*remove, *rename]:
        if region not in every:
            raise UserError(f"{region!r}: no region of the model; it has {', '.join(every)}")
    old = [region for region in model.base_regions if region not in remove]
    new = [region for region in branches if region not in remove]
    if not old:
        raise UserError("all regions that the model was trained on would be removed; one has to stay")
    try:
        regions = [region_name(rename.get(region, region)) for region in [*old, *new]]
    except ValueError as error:
        raise UserError(f"--rename: {error}") from error
    if pair := same_file(regions):
        raise UserError(f"{'--rename' if rename else f'{model.folder} with what is added to it'} {told_apart(pair)}")
    if len(new) > MOST_ADDED:
        raise UserError(f"{len(new)} added regions are too many; a model takes {MOST_ADDED}")
    arguments: dict[str, Any] = {name: value for name, value in model.base.arguments.items() if name != "spacings"}
    base = keep_regions(model.base, [model.base_regions.index(region) for region in old])
    network: nn.Module = base
    if new:
        network = GrownUNet(**{**arguments, "num_regions": len(regions), "added": len(new)})
        network.base.load_state_dict(base.state_dict())
        for branch, region in zip(network.added, new, strict=True):
            branch.backbone.load_state_dict(branches[region])  # type: ignore[union-attr]
    network.eval()
    told = {**model.record.added, **taught}
    added = {rename.get(region, region): told[region] for region in new if region in told}
    return _record(model.record, regions, remove, rename, added, network), network


def _record(
    before: Run,
    regions: Sequence[str],
    removed: Sequence[str],
    rename: Mapping[str, str],
    added: Mapping[str, Taught],
    network: nn.Module,
) -> Run:
    told = as_dictionary(before)
    told |= {
        "regions": list(regions),
        "inside": {rename.get(a, a): rename.get(b, b) for a, b in _inside(before.inside, removed).items()},
        "network": {"_target_": f"conemos_bundle.networks.{type(network).__name__}", **network.arguments},  # type: ignore[dict-item]
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "added": {region: taught.model_dump(exclude_defaults=True) for region, taught in added.items()},
        "machine": machine(),
        "versions": recorded_versions(),
    }
    told["data"] = {name: text for name, text in told.get("data", {}).items() if name != "annotated"}
    told.pop("evaluation", None)  # of other regions
    return Run.model_validate(told)


def _inside(inside: Mapping[str, str], removed: Sequence[str]) -> dict[str, str]:
    """Which region lies inside which: where one is removed, what lies inside it lies inside the next outer one."""
    left: dict[str, str] = {}
    for inner, outer in inside.items():
        while outer in removed and outer in inside:
            outer = inside[outer]
        if inner not in removed and outer not in removed:
            left[inner] = outer
    return left


def model_files(record: Run, network: nn.Module) -> dict[str, Callable[[Path], Any]]:
    """The files of a run folder, by their names: functions that write to a path. The weights are the last one.

    Args:
        record: of the model.
        network: with its weights.
    """
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    return {RECORD: partial(Path.write_bytes, data=record_bytes(record)), "model.pt": partial(torch.save, weights)}
