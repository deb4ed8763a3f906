"""A model that can grow: CoNeMOS's network, or one that has grown before."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.networks import FiLMUNet, GrownUNet
from conemos_bundle.networks.added_region import own_backbone
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.runs.record import Run
from conemos_bundle.runs.run import read_record, recorded_network
from conemos_bundle.runs.weights import fit_weights, load_weights
from torch import nn

SHAPE = ("in_channels", "channels", "convs_per_level", "norm", "skip", "film_position")  # of a backbone


@dataclass(frozen=True)
class Growing:
    """A model, taken apart.

    Args:
        folder: of its weights.
        record: of its training.
        network: with its weights, in evaluation mode.
        base: the conditioned network in it.
        base_regions: what that was trained on.
        added: regions that were added since, and the backbone of each.
    """

    folder: Path
    record: Run
    network: nn.Module
    base: FiLMUNet
    base_regions: list[str]
    added: dict[str, nn.Module]

    @property
    def shape(self) -> dict[str, object]:
        """The arguments of `own_backbone` that its regions have in common."""
        return {name: self.base.arguments[name] for name in SHAPE}

    @property
    def hash(self) -> str:
        """What regions that are added build on: all weights but those that read which region is asked for."""
        state = self.base.backbone.state_dict()
        return state_hash({name: tensor for name, tensor in state.items() if "projection" not in name})


def state_hash(state: Mapping[str, torch.Tensor]) -> str:
    """A hash of weights: the same for the same network in whatever file."""
    total = hashlib.sha256()
    for name in sorted(state):
        array = state[name].detach().cpu().contiguous().numpy()
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def new_backbone(shape: Mapping[str, object]) -> Backbone:
    """A backbone for one region, with random weights."""
    return own_backbone(**shape)  # type: ignore[arg-type]


def read_growing(model: str | os.PathLike[str]) -> Growing:
    """A finished run, or a bundle, as a model that can grow.

    Args:
        model: its folder, or the ``model.pt`` in it.

    Raises:
        UserError: there is none, its files cannot be read, or it cannot grow.
    """
    place = Path(model).expanduser()
    place = place.parent if place.is_file() else place
    found = [folder for folder in (place, place / "models") if (folder / "model.pt").is_file()]
    if not found:
        raise UserError(f"{model}: no model.pt in it; name the folder of a finished run, or of a bundle")
    folder = found[0]
    record = read_record(folder / "model.pt")
    network = recorded_network(record)
    if not isinstance(network, FiLMUNet | GrownUNet):
        raise UserError(
            f"{model}: is a {type(network).__name__}; only CoNeMOS's conditioned network can be taught another region"
        )
    if record.network.spacings is not None:
        raise UserError(f"{model}: has a scale of its own for each region; only models of one scale can grow so far")
    fit_weights(network, load_weights(folder / "model.pt"), folder / "model.pt")
    network.eval()
    if isinstance(network, FiLMUNet):
        return Growing(folder, record, network, network, list(record.regions), {})
    old, new = record.regions[: network.old], record.regions[network.old :]
    added = {region: branch.backbone for region, branch in zip(new, network.added, strict=True)}
    return Growing(folder, record, network, network.base, old, added)  # type: ignore[arg-type]
