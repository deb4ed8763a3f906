"""``<region>.region.pt``: what a model was taught of a region, in a file of its own, without the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step
from conemos_bundle.growing.model import Growing, new_backbone
from conemos_bundle.names import region_name
from conemos_bundle.networks.added_region import with_own_weights
from conemos_bundle.runs.record import Taught
from conemos_bundle.runs.weights import check_weights, load_tensors

SUFFIX = ".region.pt"
_VERSION = 1


@dataclass(frozen=True)
class RegionFile:
    """A region that can be added to the one model that it was made for.

    Args:
        region: its name.
        base: hash of the conditioned network that it fits (`state_hash`).
        own: what it learned (`own_weights`).
        taught: with what.
    """

    region: str
    base: str
    own: dict[str, torch.Tensor]
    taught: Taught = field(default_factory=Taught)


def write_region(file: RegionFile, path: str | os.PathLike[str]) -> None:
    """Write it, in one step.

    Raises:
        OutputError: it cannot be written.
    """
    content: dict[str, Any] = {"version": _VERSION, "region": file.region, "base": file.base, "own": file.own}
    content["taught"] = file.taught.model_dump(exclude_defaults=True)
    write_in_one_step(path, lambda part: torch.save(content, part))


def read_region(path: str | os.PathLike[str]) -> RegionFile:
    """Read it; it may come from anybody.

    Raises:
        UserError: it cannot be read, or is something else.
    """
    try:
        content: Any = load_tensors(path)
        if not isinstance(content, Mapping) or content.get("version") != _VERSION:
            raise ValueError("not of this version")
        region, base = content["region"], content["base"]
        if not isinstance(region, str) or not isinstance(base, str) or len(base) != 64:
            raise ValueError("no names")
        taught = Taught.model_validate(content.get("taught", {}))  # the first files say nothing of it
        return RegionFile(region_name(region), base, check_weights(content["own"]), taught)
    except Exception as error:  # torch.load raises whatever it likes on a broken file
        raise UserError(f"{path}: is no {SUFFIX} file of 'conemos add-region'; copy it again") from error


def region_state(file: RegionFile, model: Growing, path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The weights of the region's backbone in a model.

    Args:
        file: the region.
        model: that it shall be added to.
        path: where it comes from.

    Raises:
        UserError: it was made for another model, or its weights do not fit.
    """
    if file.base != model.hash:
        raise UserError(
            f"{path}: {file.region} was taught to another model (network {file.base[:8]}…, that of {model.folder} is "
            f"{model.hash[:8]}…); give the model that it was made with"
        )
    try:
        return check_weights(with_own_weights(model.base.state_dict(), file.own, new_backbone(model.shape)))
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{path}: its weights do not fit the network ({error}); copy it again") from error


def region_path(folder: Path, region: str) -> Path:
    """Where a run keeps an added region."""
    return folder / f"{region}{SUFFIX}"
