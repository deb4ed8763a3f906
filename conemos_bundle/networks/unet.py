"""The plain UNet: K sigmoid outputs from one network, the backbone of the methods that CoNeMOS is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.networks.interface import RegionNetwork, indices


class UNet(RegionNetwork):
    """The backbone with K output channels; all are computed, those asked for are selected.

    Args: as for `FiLMUNet`, without those of FiLM; ``last_relu`` as for `Backbone`.
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
        self.backbone = Backbone(in_channels, num_regions, channels, convs_per_level, norm, skip, last_relu=last_relu)

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """All of the network, as `RegionNetwork.encode`."""
        return self.backbone.encode(image)

    def decode(self, features: list[torch.Tensor], regions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)``, as `RegionNetwork.decode`."""
        logits = self.backbone.decode(features, None)
        if regions is None:
            return logits
        asked = indices(regions, self.num_regions, logits.shape[0], logits.device)
        # not by indexing, which takes -1 for the last
        places = asked.view(asked.shape[0], asked.shape[1], 1, 1, 1)
        return logits.gather(1, places.expand(-1, -1, logits.shape[2], logits.shape[3], logits.shape[4]))
