"""The networks that are measured: the methods', and those they are measured against.

MONAI's `DynUNet` has the same features and convolutions per level; it goes down and up by convolutions of stride 2
where ours pools and up-samples. MONAI's `BasicUNet` always has five levels: below fewer channels it gets levels of
twice the features, which take few multiplications and many parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from conemos_bundle.networks import NETWORKS
from conemos_bundle.networks.blocks import ConvBlock
from conemos_bundle.paper.bench.setup import Setup
from monai.networks.nets import BasicUNet, DynUNet
from torch import nn

CONCATENATING = "Plain UNet, concatenating"
DYNUNET = "MONAI DynUNet"
PEERS = (CONCATENATING, DYNUNET)
LEVELS_OF_BASIC_UNET = 5


def plain_unet(setup: Setup, regions: int) -> nn.Module:
    """The backbone with an output per region: PSL loss's network."""
    return of_method("UNet", setup, regions)


def concatenating(network: nn.Module) -> nn.Module:
    """``network`` with the usual decoders, which up-sample and concatenate: the same weights give the same logits."""
    for block in network.modules():
        if isinstance(block, ConvBlock):
            block.convolve_skip = _as_it_is  # type: ignore[method-assign, assignment]
            block.convolve_up = partial(_concatenate, block)  # type: ignore[method-assign]
    return network


def concatenating_unet(setup: Setup, regions: int) -> nn.Module:
    """`plain_unet`, `concatenating`."""
    return concatenating(plain_unet(setup, regions))


def _as_it_is(skip: torch.Tensor) -> torch.Tensor:
    return skip


def _concatenate(block: ConvBlock, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    if len(skip) != len(x):  # what precedes the first FiLM, for each region
        skip = skip.repeat_interleave(len(x) // len(skip), 0)
    return block.convolve(torch.cat([skip, F.interpolate(x, scale_factor=2.0, mode="nearest")], 1))


def dynunet(setup: Setup, regions: int) -> nn.Module:
    """MONAI's `DynUNet` of the same features, kernels 3, instance norm, no deep supervision."""
    below = len(setup.channels) - 1
    return DynUNet(
        3, 1, regions, kernel_size=[3] * (1 + below), strides=[1] + [2] * below, upsample_kernel_size=[2] * below,
        filters=setup.channels, norm_name=("INSTANCE", {"affine": True}),
    )  # fmt: skip


def basic_unet(setup: Setup, regions: int) -> nn.Module:
    """MONAI's `BasicUNet` of the same features, and of twice as many at each level that it has besides."""
    more = LEVELS_OF_BASIC_UNET - len(setup.channels)
    features = [*setup.channels, *(setup.channels[-1] * 2**i for i in range(1, more + 1)), setup.channels[0]]
    return BasicUNet(3, 1, regions, features=features)


def of_method(kind: str, setup: Setup, regions: int, n_conditioned: int | None = None) -> nn.Module:
    """A network of the package with K = ``regions``, as train.json builds it."""
    options: dict[str, Any] = {}
    if kind == "FiLMUNet":
        options = {"film_position": "before_activation", "n_conditioned": n_conditioned}
    return NETWORKS[kind](num_regions=regions, channels=setup.channels, norm="instance", **options)


# from a setup and K to a network of random weights; the paper's names. Pseudo-labelling and PSL loss share theirs
METHODS: Mapping[str, Callable[[Setup, int], nn.Module]] = {
    "Individual networks": partial(of_method, "IndividualNetworks"),
    "PSL loss": plain_unet,
    "Multi-layer": partial(of_method, "MultiLayer"),
    "Multi-decoder": partial(of_method, "MultiDecoder"),
    "DoDNet": partial(of_method, "DoDNet"),
    "CoNeMOS": partial(of_method, "FiLMUNet"),
    "CoNeMOS, N = 7": partial(of_method, "FiLMUNet", n_conditioned=7),
}
OTHERS: Mapping[str, Callable[[Setup, int], nn.Module]] = {CONCATENATING: concatenating_unet, DYNUNET: dynunet}
