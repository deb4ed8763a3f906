"""DoDNet: a shared UNet with a dynamic head for the region asked for (Zhang et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from conemos_bundle.networks.backbone import Backbone, keras_initialization
from conemos_bundle.networks.interface import RegionNetwork, indices, one_hot
from conemos_bundle.networks.padding import crop, padding_for
from torch import nn

HEAD_FEATURES = 8


class DoDNet(RegionNetwork):
    """A controller reads the globally pooled bottleneck and the one-hot region, and gives the weights of the head.

    The head is three 1×1×1 convolutions (8, 8 and 1 channels, ReLU between them) on the last feature map. Encoder and
    decoder are computed once per image, whatever the number of regions asked for.

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
    ) -> None:
        super().__init__(locals())
        self.backbone = Backbone(in_channels, None, channels, convs_per_level, norm, skip)
        self.sizes = [  # weights and biases of the three convolutions
            HEAD_FEATURES * channels[0],
            HEAD_FEATURES,
            HEAD_FEATURES * HEAD_FEATURES,
            HEAD_FEATURES,
            HEAD_FEATURES,
            1,
        ]
        self.controller = nn.Linear(channels[-1] + num_regions, sum(self.sizes))
        keras_initialization(self.controller)

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Image, features of the last level, and the pooled bottleneck."""
        backbone = self.backbone
        padding = padding_for(image, backbone.factor, backbone.smallest)
        bottleneck, skips = backbone.encoder(F.pad(image, padding), None)
        features = backbone.decoder(bottleneck, backbone.decoder.convolve_skips(skips, 0), None)
        return [image, features, bottleneck.flatten(2).mean(2)]

    def decode(self, features: list[torch.Tensor], regions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)``, as `RegionNetwork.decode`."""
        image, x, pooled = features[0], features[1], features[2]
        asked = indices(regions, self.num_regions, image.shape[0], image.device)
        code = one_hot(asked, self.num_regions, pooled.dtype)
        pooled = pooled.unsqueeze(1).expand(-1, code.shape[1], -1)
        weights = self.controller(torch.cat([pooled, code], 2)).split(self.sizes, 2)
        h = x.flatten(2).unsqueeze(1)  # (B, 1, C, voxels)
        for i in range(3):
            w, b = weights[2 * i], weights[2 * i + 1].unsqueeze(3)
            h = torch.matmul(w.unflatten(2, [b.shape[2], h.shape[2]]), h) + b
            if i < 2:
                h = F.relu(h)
        logits = h.squeeze(2).unflatten(2, x.shape[2:])
        return crop(logits, padding_for(image, self.backbone.factor, self.backbone.smallest))
