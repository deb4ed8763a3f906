"""Where an added region begins: as the old region that fits its masks best, or as the mean of all."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.growing.model import Growing, read_growing
from conemos_bundle.networks.added_region import AddedRegion
from conemos_bundle.networks.interface import unwrapped
from conemos_bundle.runs.weights import CHECKPOINT
from conemos_bundle.training.pretrained import match_input
from torch import nn

logger = logging.getLogger(__name__)
BATCHES = 8  # that the beginnings are compared on


def begin(
    network: nn.Module,
    path: str | os.PathLike[str],
    expected: str | None,
    plan: Mapping[str, Any],
    batches: Iterable[dict[str, Any]],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    device: torch.device,
    output_dir: str | os.PathLike[str],
) -> str | None:
    """A step of a configuration: give an `AddedRegion` a trained network's weights.

    Args:
        network: what is going to be trained, on its device.
        path: folder of the model that it is added to.
        expected: that model's hash (`Growing.hash`), as `add_region` has read it.
        plan: of the training's input, see `plan_input`.
        batches: of the training: ``image`` and ``label``.
        loss: of logits and label.
        device: where it is trained.
        output_dir: folder of the training.

    Returns:
        the name of the region that it begins as, or ``mean``; None where the training goes on from its checkpoint,
        which has all weights.

    Raises:
        UserError: the model cannot be read, cannot grow or has changed, or the training is of another input or network.
    """
    if (Path(output_dir) / CHECKPOINT).exists():
        return None
    added, grown = unwrapped(network), read_growing(path)
    assert isinstance(added, AddedRegion)
    _reject_another(grown, added, expected, plan)
    base, losses = grown.base.to(device), []
    added.begin_as(base, None)
    added.eval()
    with torch.no_grad():
        for batch in islice(batches, BATCHES):
            image, label = batch["image"].to(device), batch["label"].to(device)[:, :1]
            features = base.encode(image)
            regions = torch.arange(len(grown.base_regions), device=device).split(1)
            of_regions = [float(loss(base.decode(features, region), label)) for region in regions]
            losses.append([float(loss(added(image), label)), *of_regions])
    means = [sum(of_choice) / len(losses) for of_choice in zip(*losses, strict=True)]
    best = means.index(min(means))
    if best > 0:
        added.begin_as(base, best - 1)
    added.train()
    name = ["mean", *grown.base_regions][best]
    logger.info(f"the region begins as {'the mean of all' if best == 0 else name} (loss {min(means):.3f})")
    return name


def _reject_another(base: Growing, added: AddedRegion, expected: str | None, plan: Mapping[str, Any]) -> None:
    """The frozen weights are those that the region will be joined with, and see what they were trained on."""
    if base.hash != expected:
        raise UserError(
            f"{base.folder / 'model.pt'}: is another model than when 'conemos add-region' began; give the command "
            "again once its training is finished"
        )
    match_input(base.folder / "model.pt", base.record.plan, plan)
    for name, theirs in base.shape.items():
        if added.arguments[name] != theirs:
            raise UserError(
                f"{base.folder / 'model.pt'}: its {name} is {theirs!r}, that of the added region "
                f"{added.arguments[name]!r}; 'conemos add-region' takes it from the model"
            )
