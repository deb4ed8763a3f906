"""Multi-decoder: a shared encoder and a decoder of its own for each region (Chen et al., Med3D, 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.networks.interface import RegionNetwork, indices
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
        """Logits ``(B, 1, D, H, W)`` of the bottleneck and the encoder's skips."""
        return self.final(self.decoder(shared[0], self.decoder.convolve_skips(shared[1:], 0), None))


class MultiDecoder(RegionNetwork):
    """K backbones that share one encoder; the decoders of regions not asked for are not computed.

    Args: as for `UNet`.
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
        options = in_channels, 1, channels, convs_per_level, norm, skip
        backbones = [Backbone(*options, last_relu=last_relu) for _ in range(num_regions)]
        self.factor, self.smallest = backbones[0].factor, backbones[0].smallest
        self.encoder = backbones[0].encoder
        self.heads = RegionBranches(RegionDecoder(backbone) for backbone in backbones)

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Image, bottleneck and skips."""
        x, skips = self.encoder(F.pad(image, padding_for(image, self.factor, self.smallest)), None)
        return [image, x] + skips  # noqa: RUF005 (TorchScript)

    def decode(self, features: list[torch.Tensor], regions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)``, as `RegionNetwork.decode`."""
        image = features[0]
        logits = self.heads(features[1:], indices(regions, self.num_regions, image.shape[0], image.device))
        return crop(logits, padding_for(image, self.factor, self.smallest))
