"""The backbone F: a UNet whose every convolution can be modulated by FiLM (paper, section 3.5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from conemos_bundle.networks.blocks import FILM_POSITIONS, NORMS, SKIPS, Decoder, Encoder
from conemos_bundle.networks.film import film
from conemos_bundle.networks.padding import crop, padding_for
from monai.networks.layers.factories import Conv
from torch import nn


def keras_initialisation(network: nn.Module) -> None:
    """Glorot-uniform weights and no bias in convolutions and linear layers: Keras's default, which the authors use."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Backbone(nn.Module):
    """UNet: levels of convolutions, max pooling, nearest up-sampling, concatenation, a final 1×1×1 convolution.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the logits; None: no final convolution, the features come out.
        channels: features of each level, finest first.
        convs_per_level: convolutions a level.
        norm: ``None``, ``"instance"`` or ``"batch"``.
        skip: ``"last"``, the usual connection from the end of a level; ``"first_conv"``, the authors' code's, from its
            first convolution, after ReLU and before FiLM.
        bias: whether convolutions have a bias (the authors' conditioned networks have none).
        film_position: ``"after_activation"`` (the paper) or ``"before_activation"``.

    Raises:
        ValueError: an option has a value other than those above.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int | None = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        convs_per_level: int = 2,
        norm: str | None = None,
        skip: str = "last",
        bias: bool = True,
        film_position: str = "after_activation",
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("spatial_dims", spatial_dims, (2, 3)),
            ("norm", norm, tuple(NORMS)),
            ("skip", skip, SKIPS),
            ("film_position", film_position, FILM_POSITIONS),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r}: use one of {allowed}")
        if convs_per_level < 1 or not channels:
            raise ValueError("a UNet needs at least one level and one convolution a level")
        self.spatial_dims = spatial_dims
        self.factor = 2 ** (len(channels) - 1)
        # At least three voxels of the first axis at the coarsest level: instance norm needs more than one; and where
        # that axis has two, oneDNN's bfloat16 weight gradient reads memory that nobody wrote (torch 2.13, AMD EPYC).
        self.smallest = 3 * self.factor
        self.encoder = Encoder(spatial_dims, in_channels, channels, convs_per_level, norm, skip, bias, film_position)
        self.decoder = Decoder(spatial_dims, channels, convs_per_level, norm, bias, film_position)
        self.conv_channels = [c for c in [*channels, *channels[-2::-1]] for _ in range(convs_per_level)]
        self.final: nn.Module = nn.Identity()
        if out_channels is not None:
            self.final = Conv["conv", spatial_dims](channels[0], out_channels, kernel_size=1, bias=bias)
            self.conv_channels.append(out_channels)
        self.encoder_convs = len(channels) * convs_per_level
        keras_initialisation(self)

    def forward(self, image: torch.Tensor, gammas: list[torch.Tensor], betas: list[torch.Tensor]) -> torch.Tensor:
        """Logits of an image of any size: padded with zeros to what pooling needs, and cropped back.

        Args:
            image: ``(B, C, D, H, W)``.
            gammas: one ``(B * R, C)`` a conditioned convolution, the last N of the network; none: a plain UNet.
            betas: like ``gammas``.

        Returns:
            logits ``(B * R, out_channels, D, H, W)``. Whatever lies before the first FiLM is computed once a sample.
        """
        padding = padding_for(image, self.factor, self.smallest)
        # the place of the first convolution among the conditioned ones; below 0: plain
        layer = len(gammas) - len(self.conv_channels)
        encoded = self.encoder(F.pad(image, padding), gammas, betas, layer)
        x = self.final(self.decoder(encoded, gammas, betas, layer + self.encoder_convs))
        if len(gammas) > 0:
            x = film(x, gammas[-1], betas[-1])
        return crop(x, padding)
