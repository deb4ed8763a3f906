"""Building blocks of the UNets: a convolution that FiLM can modulate, an encoder and a decoder of such."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from conemos_bundle.networks.film import film
from monai.networks.layers.factories import Conv, Pool
from monai.networks.layers.utils import get_norm_layer
from torch import nn

NORMS: dict[str | None, tuple[str, dict[str, bool]]] = {
    None: ("", {}),
    "instance": ("instance", {"affine": True}),
    "batch": ("batch", {}),
}
SKIPS = ("last", "first_conv")
FILM_POSITIONS = ("after_activation", "before_activation")


class ConvLayer(nn.Module):
    """Convolution 3×3×3 → [norm] → ReLU, with FiLM after the ReLU (the paper) or between norm and ReLU.

    Before the ReLU, β moves its threshold. After it, an instance norm that follows the next convolution takes most of β
    away again: with that norm the former trains better.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, norm: str | None, bias: bool, film_position: str
    ) -> None:
        super().__init__()
        self.conv = Conv["conv", spatial_dims](in_channels, out_channels, kernel_size=3, padding=1, bias=bias)
        self.norm = nn.Identity() if norm is None else get_norm_layer(NORMS[norm], spatial_dims, out_channels)
        self.film_first = film_position == "before_activation"

    def forward(
        self, x: torch.Tensor, gamma: torch.Tensor | None = None, beta: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's output, and the activation before a FiLM that follows it (what ``skip="first_conv"`` takes)."""
        x = self.norm(self.conv(x))
        if gamma is None or beta is None:
            x = F.relu(x)
            return x, x
        if self.film_first:
            x = F.relu(film(x, gamma, beta))
            return x, x
        activation = F.relu(x)
        return film(activation, gamma, beta), activation


def level(
    before: int, features: int, convs: int, spatial_dims: int, norm: str | None, bias: bool, film_position: str
) -> nn.ModuleList:
    """The convolutions of a level, the first from ``before`` to ``features`` channels."""
    ends = [before] + [features] * convs
    return nn.ModuleList(ConvLayer(spatial_dims, a, b, norm, bias, film_position) for a, b in pairwise(ends))


class Encoder(nn.Module):
    """Levels of convolutions with max pooling between them. Arguments: as for `Backbone`."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        convs_per_level: int,
        norm: str | None,
        skip: str,
        bias: bool,
        film_position: str,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            level(a, b, convs_per_level, spatial_dims, norm, bias, film_position)
            for a, b in zip([in_channels, *channels[:-1]], channels, strict=True)
        )
        self.pool = Pool["max", spatial_dims](2)
        self.skip_first = skip == "first_conv"

    def forward(
        self, x: torch.Tensor, gammas: list[torch.Tensor], betas: list[torch.Tensor], layer: int
    ) -> list[torch.Tensor]:
        """What each level gives to the decoder, finest first; the last is the bottleneck, whatever ``skip`` is.

        Args:
            x: ``(B, C, D, H, W)``, sides divisible by the levels' pooling.
            gammas: one ``(B * R, C)`` a conditioned convolution of the network; none: all are plain.
            betas: like ``gammas``.
            layer: place in ``gammas`` of this encoder's first convolution; below 0: the first ones are plain.
        """
        outputs: list[torch.Tensor] = []
        for depth, convolutions in enumerate(self.levels):
            if depth > 0:
                x = self.pool(x)
            skip = x
            for i, convolution in enumerate(convolutions):
                conditioned = 0 <= layer < len(gammas)
                x, activation = convolution(
                    x, gammas[layer] if conditioned else None, betas[layer] if conditioned else None
                )
                if i == 0:
                    skip = activation
                layer += 1
            outputs.append(skip if self.skip_first and depth < len(self.levels) - 1 else x)
        return outputs


class Decoder(nn.Module):
    """Nearest up-sampling, concatenation with the encoder's outputs, convolutions. Arguments: as for `Backbone`."""

    def __init__(
        self,
        spatial_dims: int,
        channels: Sequence[int],
        convs_per_level: int,
        norm: str | None,
        bias: bool,
        film_position: str,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            level(low + high, high, convs_per_level, spatial_dims, norm, bias, film_position)
            for low, high in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )

    def forward(
        self, encoded: list[torch.Tensor], gammas: list[torch.Tensor], betas: list[torch.Tensor], layer: int
    ) -> torch.Tensor:
        """Features ``(B * R, C, D, H, W)`` of the finest level; arguments as for `Encoder.forward`."""
        x = encoded[-1]
        for depth, convolutions in enumerate(self.levels):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            skip = encoded[len(encoded) - 2 - depth]
            if skip.shape[0] != x.shape[0]:  # the skip precedes the first FiLM, x does not
                skip = skip.repeat_interleave(x.shape[0] // skip.shape[0], dim=0)
            x = torch.cat([skip, x], dim=1)
            for convolution in convolutions:
                conditioned = 0 <= layer < len(gammas)
                x, _ = convolution(x, gammas[layer] if conditioned else None, betas[layer] if conditioned else None)
                layer += 1
        return x
