"""Defaults of settings that depend on the data or on the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
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


def cross_entropy(plan: Mapping[str, Any]) -> float:
    """The weight of cross-entropy beside soft Dice: 0 where a patch covers a whole scan, else 1.

    A patch of a larger scan may miss the region, and then soft Dice has nothing to say.

    Args:
        plan: of the network's input, see `plan_input`.
    """
    return 0.0 if plan["whole_scans"] else 1.0
