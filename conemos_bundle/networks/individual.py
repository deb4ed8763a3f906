"""Individual networks: one plain UNet per region (paper, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.networks.interface import RegionNetwork, indices
from conemos_bundle.networks.region_branches import RegionBranches
from torch import nn


class OneRegion(nn.Module):
    """A plain UNet with one output."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, shared: list[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, 1, D, H, W)`` of the image, the only item of ``shared``."""
        return self.backbone.decode(self.backbone.encode(shared[0]), None)


class IndividualNetworks(RegionNetwork):
    """K plain UNets that share nothing; those of regions not asked for are not computed.

    Args: as for `UNet`, and ``spacings`` as for `FiLMUNet`: a region's network is the same at all of them, and not told
    which.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_regions: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        convs_per_level: int = 2,
        norm: str | None = None,
        skip: str = "last",
        spacings: Sequence[Sequence[float]] | None = None,
        last_relu: bool = True,
    ) -> None:
        super().__init__(locals())
        options = in_channels, 1, channels, convs_per_level, norm, skip
        self.networks = RegionBranches(OneRegion(Backbone(*options, last_relu=last_relu)) for _ in range(num_regions))

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The image: the networks share nothing else."""
        return [image]

    def decode(self, features: list[torch.Tensor], regions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)``, as `RegionNetwork.decode`."""
        image = features[0]
        asked = indices(regions, self.num_regions, image.shape[0], image.device)
        if self.num_indices > self.num_regions:
            asked = asked % self.num_regions
        return self.networks(features, asked)
