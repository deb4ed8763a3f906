"""Which weights of a network belong to one region, and weights whose regions stand in another order."""

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


def region_owners(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Which weights belong to one region alone, so that a training without that region leaves them as they are.

    CoNeMOS: the columns of the first layer that reads the one-hot code. DoDNet: those of the controller. UNet: the
    output channels. Multi-layer, multi-decoder and individual networks: the branches. Everything else is shared.

    Args:
        network: what the weights are for; says where its regions are.
        weights: its flat state_dict.

    Returns:
        for each tensor with such weights the regions' indices, -1 where they are shared, int64, of a shape that
        broadcasts to the tensor's: ``(1, n)`` of columns, ``(n, 1, …)`` of channels, ``()`` of a whole tensor.

    Raises:
        ValueError: it is not known where this kind of network has its regions.

    Example::

        >>> network = UNet(num_regions=3, channels=(2, 4))
        >>> region_owners(network, network.state_dict())["backbone.final.bias"].tolist()
        [0, 1, 2]
    """
    owners: dict[str, torch.Tensor] = {}
    if isinstance(network, FiLMUNet):
        first = "embedding.0.weight"  # without a dense layer, each FiLM reads the code itself
        names = [first] if first in weights else [name for name in weights if name.endswith("projection.weight")]
        for name in names:  # behind the code stands the spacing, where the network is told it
            owners[name] = _along(weights[name], 1, 0, network.num_regions)
    elif isinstance(network, DoDNet):  # the one-hot code stands behind the pooled features
        weight = weights["controller.weight"]
        owners["controller.weight"] = _along(weight, 1, weight.shape[1] - network.num_regions, network.num_regions)
    elif isinstance(network, UNet):
        for name in weights:
            if name.startswith("backbone.final."):
                owners[name] = _along(weights[name], 0, 0, network.num_regions)
    elif isinstance(network, MultiLayer | MultiDecoder | IndividualNetworks):
        branches = {name: _BRANCH.match(name) for name in weights}
        owners = {name: torch.tensor(int(found[2])) for name, found in branches.items() if found is not None}
    else:
        raise ValueError(f"{type(network).__name__}: not known where its regions are")
    return owners


def _along(weight: torch.Tensor, axis: int, first: int, num_regions: int) -> torch.Tensor:
    """Owners of a tensor whose regions begin at ``first`` of an axis."""
    owners = torch.full((weight.shape[axis],), -1, device=weight.device)
    owners[first : first + num_regions] = torch.arange(num_regions, device=weight.device)
    return owners.reshape([-1 if each == axis else 1 for each in range(weight.dim())])


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
    if isinstance(network, AddedRegion | GrownUNet) and places == sorted(places):  # added regions have no other place
        return moved
    for name, owners in region_owners(network, weights).items():
        if owners.dim() == 0:
            branch = _BRANCH.match(name)
            assert branch is not None
            moved[name] = weights[f"{branch[1]}.branches.{places[int(branch[2])]}.{name[branch.end() :]}"]
        elif owners.numel() > 1:  # else it has one region
            axis, regions = max(range(owners.dim()), key=owners.shape.__getitem__), owners.flatten().tolist()
            order_of = [i if k < 0 else regions.index(places[k]) for i, k in enumerate(regions)]
            moved[name] = weights[name].index_select(axis, torch.tensor(order_of, device=owners.device))
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
