"""Where an added region begins: as the old region that fits its masks best, or as the mean of all."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import torch
from conemos_bundle.growing.model import read_growing
from conemos_bundle.networks.added_region import AddedRegion
from conemos_bundle.networks.interface import unwrapped
from torch import nn

logger = logging.getLogger(__name__)
BATCHES = 8  # that the beginnings are compared on


def begin(
    network: nn.Module,
    path: str | os.PathLike[str],
    batches: Iterable[dict[str, Any]],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    device: torch.device,
) -> str:
    """A step of a configuration: give an `AddedRegion` a trained network's weights.

    Args:
        network: what is going to be trained, on its device.
        path: folder of the model that it is added to.
        batches: of the training: ``image`` and ``label``.
        loss: of logits and label.
        device: where it is trained.

    Returns:
        the name of the region that it begins as, or ``mean``.

    Raises:
        UserError: the model cannot be read, or cannot grow.
    """
    added, base = unwrapped(network), read_growing(path)
    assert isinstance(added, AddedRegion)
    some = [(batch["image"].to(device), batch["label"].to(device)) for batch in islice(batches, BATCHES)]
    choices: list[int | None] = [None, *range(len(base.base_regions))]
    losses = []
    with torch.no_grad():
        for choice in choices:
            added.begin_as(base.base, choice)
            added.eval()
            losses.append(sum(float(loss(added(image), label[:, :1])) for image, label in some) / len(some))
    best = choices[losses.index(min(losses))]
    added.begin_as(base.base, best)
    added.train()
    name = "mean" if best is None else base.base_regions[best]
    logger.info(f"the region begins as {'the mean of all' if best is None else name} (loss {min(losses):.3f})")
    return name
