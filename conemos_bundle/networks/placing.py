"""Bringing a network to its device."""

from __future__ import annotations

import torch
from torch import nn


def on_device(network: nn.Module, device: str | torch.device, channels_last: bool = False) -> nn.Module:
    """The network itself, on a device.

    Args:
        network: the network.
        device: where its weights go.
        channels_last: keep the weights of 3D convolutions with their channels as the last axis in memory.
    """
    layout = torch.channels_last_3d if channels_last else torch.preserve_format
    return network.to(device=torch.device(device), memory_format=layout)  # type: ignore[call-overload,no-any-return]
