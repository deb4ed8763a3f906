"""Weights of a network whose regions stand in another order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from conemos_bundle.networks.added_region import AddedRegion
from conemos_bundle.networks.dodnet import DoDNet
from conemos_bundle.networks.film_unet import FiLMUNet
from conemos_bundle.networks.grown_unet import GrownUNet
from conemos_bundle.networks.individual import IndividualNetworks
from conemos_bundle.networks.multi_decoder import MultiDecoder
from conemos_bundle.networks.multi_layer import MultiLayer
from conemos_bundle.networks.unet import UNet
from torch import nn

_BRANCH = re.compile(r"^(heads|networks)\.branches\.(\d+)\.")


def reorder_regions(
    network: nn.Module, weights: Mapping[str, torch.Tensor], order: Sequence[int]
) -> dict[str, torch.Tensor]:
    """The weights with which region k of ``network`` is region ``order[k]`` of the network that they come from.

    Args:
        network: what they are for; says where its regions are.
        weights: its flat state_dict, with its regions in the old order.
        order: for each of the K regions its index in the old order.

    Raises:
        ValueError: it is not known where this kind of network has its regions.
    """
    places = list(order)
    moved = dict(weights)
    if isinstance(network, FiLMUNet):  # columns of what reads the one-hot code
        first = "embedding.0.weight"  # without a dense layer, each FiLM reads the code itself
        names = [first] if first in weights else [name for name in weights if name.endswith("projection.weight")]
        # behind the code stands the spacing, where the network is told it
        moved.update({name: weights[name][:, [*places, *range(len(places), weights[name].shape[1])]] for name in names})
    elif isinstance(network, DoDNet):  # the one-hot code stands behind the pooled features
        weight = weights["controller.weight"]
        features, code = weight[:, : -len(places)], weight[:, -len(places) :]
        moved["controller.weight"] = torch.cat([features, code[:, places]], 1)
    elif isinstance(network, UNet):  # output channels
        moved.update({name: weights[name][places] for name in weights if name.startswith("backbone.final.")})
    elif isinstance(network, MultiLayer | MultiDecoder | IndividualNetworks):
        for name in weights:
            branch = _BRANCH.match(name)
            if branch is not None:
                source = f"{branch[1]}.branches.{places[int(branch[2])]}.{name[branch.end() :]}"
                moved[name] = weights[source]
    elif isinstance(network, AddedRegion) or (isinstance(network, GrownUNet) and places == sorted(places)):
        pass
    else:
        raise ValueError(f"{type(network).__name__}: not known where its regions are")
    return moved


def keep_regions(network: FiLMUNet, kept: Sequence[int]) -> FiLMUNet:
    """A conditioned network with some of its regions, in this order; each is computed as before.

    Args:
        network: with one spacing for all regions.
        kept: indices of regions.
    """
    arguments: dict[str, Any] = {name: value for name, value in network.arguments.items() if name != "spacings"}
    fewer = FiLMUNet(**{**arguments, "num_regions": len(kept)})
    state = network.state_dict()
    names = [name for name in state if name == "embedding.0.weight"] or [n for n in state if "projection.weight" in n]
    fewer.load_state_dict({name: tensor[:, list(kept)] if name in names else tensor for name, tensor in state.items()})
    return fewer.eval()
