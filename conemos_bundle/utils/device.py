"""The device that a configuration runs on unless it is told another."""

from __future__ import annotations

import torch


def best_device() -> torch.device:
    """The first GPU; the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
