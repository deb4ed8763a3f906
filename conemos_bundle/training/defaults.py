"""Defaults of settings that depend on the data or on the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch


def most_voxels() -> int:
    """The most voxels of a patch, more of them with a GPU."""
    return 96**3 if torch.cuda.is_available() else 64**3


def num_workers() -> int:
    """Processes that load and augment: with a GPU one per two cores, at most 8; without one none but the training's."""
    return min(8, (os.cpu_count() or 1) // 2) if torch.cuda.is_available() else 0


def pin_memory(device: str | torch.device) -> bool:
    """Whether batches wait in memory that a GPU copies from while it computes."""
    return torch.device(device).type == "cuda"


def decoder_convolutions(channels: Sequence[int], convs_per_level: int = 2) -> int:
    """How many convolutions of a UNet come after its encoder: 7 of the 15 of four levels.

    With these conditioned alone, an image is encoded once, whatever is asked of it.

    Args:
        channels: features of each level.
        convs_per_level: convolutions per level.
    """
    return convs_per_level * (len(channels) - 1) + 1


def cross_entropy(plan: Mapping[str, Any]) -> float:
    """The weight of cross-entropy beside soft Dice: 0 where a patch covers a whole scan, else 1.

    A patch of a larger scan may miss the region, and then soft Dice has nothing to say. With a scale of its own, a
    region is looked for where it is, and 0 it is again: small regions are lost to cross-entropy.

    Args:
        plan: of the network's input, see `plan_input`.
    """
    return 0.0 if plan["whole_scans"] or plan.get("scales") else 1.0
