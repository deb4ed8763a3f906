"""Multi-decoder: a shared encoder and a decoder of its own for each region (Chen et al., Med3D, 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.networks.interface import checked_code, refuse_missing_weights
from conemos_bundle.networks.padding import crop, padding_for
from conemos_bundle.networks.region_branches import RegionBranches
from torch import nn


class RegionDecoder(nn.Module):
    """The decoder and final convolution of a backbone."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.decoder = backbone.decoder
        self.final = backbone.final

    def forward(self, shared: list[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, 1, D, H, W)`` of the encoder's outputs."""
        no_film: list[torch.Tensor] = []
        return self.final(self.decoder(shared, no_film, no_film, 0))


class MultiDecoder(nn.Module):
    """K backbones that share one encoder; the decoders of regions not asked for are not computed.

    Args: as for `UNet`.
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
        backbones = [
            Backbone(spatial_dims, in_channels, 1, channels, convs_per_level, norm, skip) for _ in range(num_regions)
        ]
        self.factor, self.smallest = backbones[0].factor, backbones[0].smallest
        self.encoder = backbones[0].encoder
        self.heads = RegionBranches(RegionDecoder(backbone) for backbone in backbones)
        self.register_load_state_dict_post_hook(refuse_missing_weights)

    def forward(
        self, x: torch.Tensor, regions: torch.Tensor | None = None, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits, as every method gives them (`conemos_bundle.networks.interface`)."""
        no_film: list[torch.Tensor] = []
        padding = padding_for(x, self.factor, self.smallest)
        encoded = self.encoder(F.pad(x, padding), no_film, no_film, 0)
        code = checked_code(x, regions, condition, self.num_regions)
        return crop(self.heads(encoded, code, condition is not None), padding)
