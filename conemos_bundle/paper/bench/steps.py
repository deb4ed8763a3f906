"""Training steps: forward, loss, backward and update, on one random batch in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import torch
from conemos_bundle.inferers import infer
from conemos_bundle.losses import RegionLoss
from conemos_bundle.networks import parameter_groups
from conemos_bundle.paper.bench.groups import Call, Group, synchronized
from conemos_bundle.paper.bench.networks import METHODS, OTHERS, PEERS, basic_unet, plain_unet
from conemos_bundle.paper.bench.setup import Setup
from torch import nn

REGIONS = 5  # K of the networks that take a region, and of PSL loss
BATCH = 2


class Step(NamedTuple):
    """A kind of training step.

    ``outputs`` is K of the network, ``masks`` how many it learns per scan; ``asks``: it is told which.
    """

    build: Callable[[Setup, int], nn.Module]
    outputs: int
    masks: int
    asks: bool = False


STEPS: Mapping[str, Step] = {
    **{name: Step(build, 1, 1) for name, build in OTHERS.items()},
    "MONAI BasicUNet": Step(basic_unet, 1, 1),
    "Plain UNet": Step(plain_unet, 1, 1),
    "PSL loss, 5 masks per scan": Step(plain_unet, REGIONS, REGIONS),
    "DoDNet": Step(METHODS["DoDNet"], REGIONS, 1, True),
    "CoNeMOS": Step(METHODS["CoNeMOS"], REGIONS, 1, True),
    "CoNeMOS, N = 7": Step(METHODS["CoNeMOS, N = 7"], REGIONS, 1, True),
    "CoNeMOS, N = 7, 2 masks per scan": Step(METHODS["CoNeMOS, N = 7"], REGIONS, 2, True),
}


def build_step(setup: Setup, dtype: str, kind: Step) -> Call:
    """A step as train.json makes it, with Adam and cross-entropy beside soft Dice."""
    device = setup.device
    network = kind.build(setup, kind.outputs).to(device)
    optimizer = torch.optim.Adam(parameter_groups(network), lr=1e-3, fused=True)
    loss = RegionLoss(cross_entropy=1.0)
    image = torch.rand(BATCH, 1, *[setup.size] * 3, device=device)
    target = (torch.rand(BATCH, kind.masks, *image.shape[2:], device=device) > 0.9).float()
    asked = torch.arange(BATCH * kind.masks, device=device).view(BATCH, kind.masks) % REGIONS if kind.asks else None

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(infer(image, network, asked, bfloat16=dtype == "bfloat16"), target).backward()
        optimizer.step()

    return synchronized(step, device)


def step_groups(setup: Setup) -> Iterator[Group]:
    """All kinds of training step, a group per dtype."""
    for dtype in setup.dtypes:
        variants = {name: partial(build_step, setup, dtype, kind) for name, kind in STEPS.items()}
        yield Group("step", f"Training step, batch {BATCH}, {dtype}", variants, PEERS, dtype)
