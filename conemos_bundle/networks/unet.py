"""The plain UNet: K sigmoid outputs from one network, the backbone of the methods that CoNeMOS is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.networks.interface import checked_code, refuse_missing_weights
from torch import nn


class UNet(nn.Module):
    """The backbone with K output channels, behind the interface that every method has (`FiLMUNet.forward`).

    Args: as for `FiLMUNet`, without those of the conditioner.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        num_regions: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        convs_per_level: int = 2,
        norm: str | None = None,
        skip: str = "last",
    ) -> None:
        super().__init__()
        self.arguments = {  # what a finished run needs to build this network again
            "spatial_dims": spatial_dims,
            "in_channels": in_channels,
            "num_regions": num_regions,
            "channels": list(channels),
            "convs_per_level": convs_per_level,
            "norm": norm,
            "skip": skip,
        }
        self.num_regions = num_regions
        self.backbone = Backbone(spatial_dims, in_channels, num_regions, channels, convs_per_level, norm, skip)
        self.register_load_state_dict_post_hook(refuse_missing_weights)

    def forward(
        self, x: torch.Tensor, regions: torch.Tensor | None = None, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits as `FiLMUNet.forward` gives them; all K are computed, those asked for are selected."""
        no_film: list[torch.Tensor] = []
        logits = self.backbone(x, no_film, no_film)
        if regions is None and condition is None:
            return logits
        asked = checked_code(x, regions, condition, self.num_regions).argmax(1)
        if condition is None:
            return logits[:, asked]
        return logits[torch.arange(x.shape[0], device=x.device), asked].unsqueeze(1)
