"""Multi-layer: a shared UNet and a last layer of its own for each region (Ulrich et al., MultiTalent, MICCAI 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from conemos_bundle.networks.backbone import Backbone, keras_initialisation
from conemos_bundle.networks.blocks import ConvLayer
from conemos_bundle.networks.interface import checked_code, refuse_missing_weights
from conemos_bundle.networks.region_branches import RegionBranches
from monai.networks.layers.factories import Conv
from torch import nn


class LastLayer(nn.Module):
    """A 3×3×3 convolution to one channel → [norm → ReLU] → a 1×1×1 convolution.

    The authors' code has the ReLU. Where the single weight of the last convolution begins below 0, no logit is above
    its bias then, and the region may never be found: one of three in a whole training (docs/results.md).
    """

    def __init__(self, spatial_dims: int, in_channels: int, norm: str | None, relu: bool) -> None:
        super().__init__()
        self.relu = relu
        self.layer = ConvLayer(
            spatial_dims, in_channels, 1, norm if relu else None, bias=True, film_position="after_activation"
        )
        self.final = Conv["conv", spatial_dims](1, 1, kernel_size=1)

    def forward(self, shared: list[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, 1, D, H, W)`` of the features ``(B, C, D, H, W)``, the only item of ``shared``."""
        x = self.layer(shared[0])[0] if self.relu else self.layer.conv(shared[0])
        return self.final(x)


class MultiLayer(nn.Module):
    """A UNet whose features all regions share, and K last layers; those not asked for are not computed.

    Args: as for `UNet`, and ``last_relu``: whether a last layer has a norm and a ReLU (`LastLayer`).
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
        last_relu: bool = True,
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
            "last_relu": last_relu,
        }
        self.num_regions = num_regions
        self.backbone = Backbone(spatial_dims, in_channels, None, channels, convs_per_level, norm, skip)
        self.heads = RegionBranches(LastLayer(spatial_dims, channels[0], norm, last_relu) for _ in range(num_regions))
        keras_initialisation(self.heads)
        self.register_load_state_dict_post_hook(refuse_missing_weights)

    def forward(
        self, x: torch.Tensor, regions: torch.Tensor | None = None, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits, as every method's `conemos_bundle.networks.interface` gives them."""
        no_film: list[torch.Tensor] = []
        features = self.backbone(x, no_film, no_film)
        return self.heads([features], checked_code(x, regions, condition, self.num_regions), condition is not None)
