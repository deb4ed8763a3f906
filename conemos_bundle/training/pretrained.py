"""Weights to start a training from: matched by the names of regions, channels, network and spacing, or refused."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.networks import GrownUNet
from conemos_bundle.networks.interface import unwrapped
from conemos_bundle.networks.region_order import reorder_regions
from conemos_bundle.runs.record import Plan, Run
from conemos_bundle.runs.run import RECORD, network_difference, read_record
from conemos_bundle.runs.weights import load_weights
from conemos_bundle.training.defaults import decoder_convolutions
from conemos_bundle.volumes.fingerprints import weights_hash
from torch import nn

logger = logging.getLogger(__name__)
SPACING_TOLERANCE = 0.01  # relative: rounding in a header, not another resolution
_SETTINGS = ("channels", "n_conditioned")  # of a network, that train.json has by their own names


def weights_file(path: str | os.PathLike[str]) -> Path:
    """``path``, or the ``model.pt`` in it where it is the folder of a run or bundle.

    Raises:
        UserError: there is none.
    """
    place = Path(path).expanduser()
    found = [file for file in (place, place / "model.pt", place / "models" / "model.pt") if file.is_file()]
    if not found:
        raise UserError(
            f"{place}: no such file; pass --pretrained_path with a model.pt, or the folder of a run or bundle"
        )
    return found[0]


def pretrained_hash(path: str | os.PathLike[str] | None) -> str:
    """What the weights are known by; empty where there are none.

    Raises:
        UserError: there is no such file.
    """
    return "" if path is None else weights_hash(weights_file(path))


def pretrained_spacing(path: str | os.PathLike[str] | None) -> list[float] | None:
    """The spacing in mm that weights were trained at; None where there are none, or nothing says.

    Raises:
        UserError: there is no such file, or its record is broken.
    """
    record = None if path is None else _record_beside(weights_file(path))
    return None if record is None else [float(side) for side in record.plan.spacing]


def pretrained_convolutions(path: str | os.PathLike[str] | None, channels: Sequence[int]) -> int | None:
    """How many convolutions the network of weights conditions, None for all; the default where nothing says.

    Args:
        path: of the weights, see `load_pretrained`.
        channels: features of each level of the network to be trained.

    Raises:
        UserError: there is no such file, or its record is broken.
    """
    record = None if path is None else _record_beside(weights_file(path))
    if record is None or not record.network.is_conditioned:
        return decoder_convolutions(channels)
    return record.network.n_conditioned


def pretrained_scales(path: str | os.PathLike[str] | None) -> str | dict[str, Any]:
    """The ``scales`` of weights, as `plan_scales` takes them; ``"one"`` where they have one, or nothing says.

    Raises:
        UserError: there is no such file, or its record is broken.
    """
    record = None if path is None else _record_beside(weights_file(path))
    return "one" if record is None else recorded_scales(record)


def recorded_scales(record: Run) -> str | dict[str, Any]:
    """The scales of a finished run, as `plan_scales` takes them."""
    return record.plan.scales_of_regions or "one"


def load_pretrained(
    path: str | os.PathLike[str] | None,
    network: nn.Module,
    regions: Sequence[str],
    plan: dict[str, Any],
    named: Sequence[str] | None = None,
) -> None:
    """Load weights into ``network``, each region's into the region of that name.

    Args:
        path: ``model.pt``, beside its ``run.json``; or the folder of a run or bundle; None: nothing to load.
        network: what is going to be trained.
        regions: its K regions, in order.
        plan: its input, see `plan_input`.
        named: the regions of weights without a record, in their order.

    Raises:
        UserError: other regions, another number of channels or another network, or no record and no names.
    """
    if path is None:
        return
    network, file = unwrapped(network), weights_file(path)
    weights = load_weights(file)
    record = _record(file, named)
    theirs = [str(region) for region in named or []] if record is None else record.regions
    if sorted(theirs) != sorted(regions):
        raise UserError(
            f"{file}: its regions are {', '.join(theirs)}, those of the datalist {', '.join(regions)}; "
            "fine-tuning takes the same regions, by name"
        )
    if record is not None:
        if record.network.has_grown and not isinstance(network, GrownUNet):
            raise UserError(
                f"{file}: has regions that were added to it, and cannot be trained on as one; teach it a region with "
                "'conemos add-region', or begin with the model that it grew from (conemos merge --remove)"
            )
        match_input(file, record.plan, plan)
        _match_network(file, record, network)
    order = [theirs.index(region) for region in regions]
    try:
        network.load_state_dict(reorder_regions(network, weights, order))
    except ValueError as error:
        raise UserError(
            f"{file}: name the regions in its order, as some were added to it: {', '.join(theirs)}"
        ) from error
    except (RuntimeError, KeyError, IndexError) as error:
        raise UserError(f"{file}: these weights are not of this network ({type(network).__name__})") from error
    moved = "" if theirs == list(regions) else f"; regions matched by name: they stood in the order {', '.join(theirs)}"
    logger.log(logging.WARNING if moved else logging.INFO, f"training starts from {file}{moved}")


def _record_beside(file: Path) -> Run | None:
    return read_record(file) if (file.parent / RECORD).is_file() else None


def _record(file: Path, named: Sequence[str] | None) -> Run | None:
    """The record beside the weights; None where there is none, and the user names the regions."""
    record = _record_beside(file)
    if record is not None:
        if named and list(named) != record.regions:
            raise UserError(f"{file}: {RECORD} says other regions than --pretrained_regions; leave the latter out")
        return record
    if not named:
        raise UserError(
            f"{file}: nothing says which regions these weights are of, in which order; put the {RECORD} of their "
            "training beside them, or pass --pretrained_regions \"['a','b']\""
        )
    logger.warning(f"{file}: no {RECORD} beside it: regions as given, spacing and network as they are here")
    return None


def match_input(file: Path, theirs: Plan, ours: Mapping[str, Any]) -> None:
    """Refuse an input of other channels or spacing than that of weights.

    Args:
        file: of the weights.
        theirs: what they were trained on.
        ours: what is going to be trained on, see `plan_input`.

    Raises:
        UserError: they differ.
    """
    if theirs.in_channels != ours["in_channels"]:
        raise UserError(
            f"{file}: trained on scans of {theirs.in_channels} channel(s); those of the datalist have "
            f"{ours['in_channels']}"
        )
    differ = [abs(b - a) > SPACING_TOLERANCE * a for a, b in zip(theirs.spacing, ours["spacing"], strict=True)]
    if any(differ):
        raise UserError(
            f"{file}: trained at a spacing of {theirs.spacing} mm, and this training has {ours['spacing']}; "
            "leave out --spacing, which takes that of the weights"
        )


def _match_network(file: Path, record: Run, network: nn.Module) -> None:
    other = network_difference(record, network)
    if other is not None:
        name, theirs, ours = other
        option = "overlay" if name == "network" else name if name in _SETTINGS else f"network_def::{name}"
        raise UserError(
            f"{file}: its {name} is {theirs!r}, that of this training {ours!r}; pass the fitting --{option}"
        )
