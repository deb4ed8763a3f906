"""The backbone F: a UNet whose every convolution can be modulated by FiLM (paper, section 3.5)."""

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


class Backbone(nn.Module):
    """UNet: levels of convolutions, max pooling, nearest up-sampling, concatenation, a final 1×1×1 convolution.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the logits.
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
        out_channels: int = 1,
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
        self.skip_first = skip == "first_conv"

        def level(before: int, features: int) -> nn.ModuleList:
            ends = [before] + [features] * convs_per_level
            return nn.ModuleList(ConvLayer(spatial_dims, a, b, norm, bias, film_position) for a, b in pairwise(ends))

        self.encoder = nn.ModuleList(level(a, b) for a, b in zip([in_channels, *channels[:-1]], channels, strict=True))
        self.decoder = nn.ModuleList(
            level(low + high, high) for low, high in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.final = Conv["conv", spatial_dims](channels[0], out_channels, kernel_size=1, bias=bias)
        self.pool = Pool["max", spatial_dims](2)
        self.conv_channels = [c for c in [*channels, *channels[-2::-1]] for _ in range(convs_per_level)] + [
            out_channels
        ]
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):  # Keras's default, which the authors' code uses
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: torch.Tensor, gammas: list[torch.Tensor], betas: list[torch.Tensor]) -> torch.Tensor:
        """Logits of an image of any size: padded with zeros to what pooling needs, and cropped back.

        Args:
            image: ``(B, C, D, H, W)``.
            gammas: one ``(B * R, C)`` a conditioned convolution, the last N of the network; none: a plain UNet.
            betas: like ``gammas``.

        Returns:
            logits ``(B * R, out_channels, D, H, W)``. Whatever lies before the first FiLM is computed once a sample.
        """
        size = image.shape[2:]
        padding: list[int] = []
        for i in range(self.spatial_dims - 1, -1, -1):
            missing = (self.factor - size[i] % self.factor) % self.factor
            if i == 0:
                missing = max(missing, self.smallest - size[i])
            padding += [0, missing]
        x = F.pad(image, padding)

        layer = len(gammas) - len(self.conv_channels)  # index of the convolution among the conditioned; below 0: plain
        skips: list[torch.Tensor] = []
        for depth, convolutions in enumerate(self.encoder):
            if depth > 0:
                x = self.pool(x)
            skip = x
            for i, convolution in enumerate(convolutions):
                conditioned = layer >= 0
                x, activation = convolution(
                    x, gammas[layer] if conditioned else None, betas[layer] if conditioned else None
                )
                if i == 0:
                    skip = activation
                layer += 1
            skips.append(skip if self.skip_first else x)

        for depth, convolutions in enumerate(self.decoder):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            skip = skips[len(skips) - 2 - depth]
            if skip.shape[0] != x.shape[0]:  # the skip precedes the first FiLM, x does not
                skip = skip.repeat_interleave(x.shape[0] // skip.shape[0], dim=0)
            x = torch.cat([skip, x], dim=1)
            for convolution in convolutions:
                conditioned = layer >= 0
                x, _ = convolution(x, gammas[layer] if conditioned else None, betas[layer] if conditioned else None)
                layer += 1

        x = self.final(x)
        if len(gammas) > 0:
            x = film(x, gammas[-1], betas[-1])
        # a crop, as a padding: slices would fix in torch.export whether there is anything to crop
        return F.pad(x, [-p for p in padding])
