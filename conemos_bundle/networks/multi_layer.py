"""Multi-layer: a shared UNet and a last layer of its own for each region (Ulrich et al., MultiTalent, MICCAI 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from conemos_bundle.networks.backbone import Backbone, keras_initialization
from conemos_bundle.networks.blocks import ConvBlock
from conemos_bundle.networks.interface import RegionNetwork, indices
from conemos_bundle.networks.region_branches import RegionBranches
from torch import nn


class LastLayer(nn.Module):
    """A 3×3×3 convolution to one channel → [norm → ReLU] → a 1×1×1 convolution.

    The authors' code has the ReLU. Where the single weight of the last convolution begins below 0, no logit is above
    its bias then, and the region may never be found: one of three in a whole training (docs/results.md).
    """

    def __init__(self, in_channels: int, norm: str | None, relu: bool) -> None:
        super().__init__()
        self.relu = relu
        self.layer = ConvBlock(in_channels, 1, norm if relu else None, True, "after_activation", None)
        self.final = nn.Conv3d(1, 1, kernel_size=1)

    def forward(self, shared: list[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, 1, D, H, W)`` of the features ``(B, C, D, H, W)``, the only item of ``shared``."""
        x = self.layer(shared[0]) if self.relu else self.layer.conv(shared[0])
        return self.final(x)


class MultiLayer(RegionNetwork):
    """A UNet whose features all regions share, and K last layers; those not asked for are not computed.

    Args: as for `UNet`, and ``last_relu``: whether a last layer has a norm and a ReLU (`LastLayer`).
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_regions: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        convs_per_level: int = 2,
        norm: str | None = None,
        skip: str = "last",
        last_relu: bool = True,
    ) -> None:
        super().__init__(locals())
        self.backbone = Backbone(in_channels, None, channels, convs_per_level, norm, skip)
        self.heads = RegionBranches(LastLayer(channels[0], norm, last_relu) for _ in range(num_regions))
        keras_initialization(self.heads)

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Image and features of the last level."""
        return self.backbone.encode(image)

    def decode(self, features: list[torch.Tensor], regions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)``, as `RegionNetwork.decode`."""
        image = features[0]
        asked = indices(regions, self.num_regions, image.shape[0], image.device)
        return self.heads([self.backbone.decode(features, None)], asked)
