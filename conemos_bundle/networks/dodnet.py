"""DoDNet: a shared UNet with a dynamic head for the region asked for (Zhang et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from conemos_bundle.networks.backbone import Backbone, keras_initialisation
from conemos_bundle.networks.interface import checked_code, refuse_missing_weights
from conemos_bundle.networks.padding import crop, padding_for
from torch import nn

HEAD_FEATURES = 8


class DoDNet(nn.Module):
    """A controller reads the globally pooled bottleneck and the one-hot region, and gives the weights of the head.

    The head is three 1×1×1 convolutions (8, 8 and 1 channels, ReLU between them) on the last feature map. Encoder and
    decoder are computed once a call, whatever the number of regions asked for.

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
        self.backbone = Backbone(spatial_dims, in_channels, None, channels, convs_per_level, norm, skip)
        self.sizes = [  # weights and biases of the three convolutions
            HEAD_FEATURES * channels[0],
            HEAD_FEATURES,
            HEAD_FEATURES * HEAD_FEATURES,
            HEAD_FEATURES,
            HEAD_FEATURES,
            1,
        ]
        self.controller = nn.Linear(channels[-1] + num_regions, sum(self.sizes))
        keras_initialisation(self.controller)
        self.register_load_state_dict_post_hook(refuse_missing_weights)

    def forward(
        self, x: torch.Tensor, regions: torch.Tensor | None = None, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits, as every method gives them (`conemos_bundle.networks.interface`)."""
        code = checked_code(x, regions, condition, self.num_regions)
        batch = x.shape[0]
        # (B, R, K): one region an image, or all R for each image
        code = code.unsqueeze(1) if condition is not None else code.unsqueeze(0).expand(batch, -1, -1)
        no_film: list[torch.Tensor] = []
        padding = padding_for(x, self.backbone.factor, self.backbone.smallest)
        encoded = self.backbone.encoder(F.pad(x, padding), no_film, no_film, 0)
        features = self.backbone.decoder(encoded, no_film, no_film, 0)
        pooled = encoded[-1].flatten(2).mean(2).unsqueeze(1).expand(-1, code.shape[1], -1)
        weights = self.controller(torch.cat([pooled, code], 2)).split(self.sizes, 2)
        h = features.flatten(2).unsqueeze(1)  # (B, 1, C, voxels)
        for i in range(3):
            w, b = weights[2 * i], weights[2 * i + 1].unsqueeze(3)
            h = torch.matmul(w.unflatten(2, [b.shape[2], h.shape[2]]), h) + b
            if i < 2:
                h = F.relu(h)
        return crop(h.squeeze(2).unflatten(2, features.shape[2:]), padding)
