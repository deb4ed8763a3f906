"""Individual networks: one plain UNet a region (paper, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.networks.interface import checked_code, refuse_missing_weights
from conemos_bundle.networks.region_branches import RegionBranches
from torch import nn


class OneRegion(nn.Module):
    """A plain UNet with one output."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, shared: list[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, 1, D, H, W)`` of the image, the only item of ``shared``."""
        no_film: list[torch.Tensor] = []
        return self.backbone(shared[0], no_film, no_film)


class IndividualNetworks(nn.Module):
    """K plain UNets that share nothing; those of regions not asked for are not computed.

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
        self.networks = RegionBranches(
            OneRegion(Backbone(spatial_dims, in_channels, 1, channels, convs_per_level, norm, skip))
            for _ in range(num_regions)
        )
        self.register_load_state_dict_post_hook(refuse_missing_weights)

    def forward(
        self, x: torch.Tensor, regions: torch.Tensor | None = None, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits, as every method gives them (`conemos_bundle.networks.interface`)."""
        return self.networks([x], checked_code(x, regions, condition, self.num_regions), condition is not None)
