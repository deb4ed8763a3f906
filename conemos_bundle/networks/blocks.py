"""Building blocks of the UNets: a convolution that FiLM may follow, an encoder and a decoder of such."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from conemos_bundle.networks.convolution import conv3d
from conemos_bundle.networks.film import FiLM
from conemos_bundle.networks.upsampled_conv import upsampled_conv
from monai.networks.layers.utils import get_norm_layer
from torch import nn

NORMS: dict[str | None, tuple[str, dict[str, bool]]] = {
    None: ("", {}),
    "instance": ("instance", {"affine": True}),
    "batch": ("batch", {}),
}
SKIPS = ("last", "first_conv")
FILM_POSITIONS = ("after_activation", "before_activation")


class ConvBlock(nn.Module):
    """Convolution 3×3×3 → [norm] → ReLU, with FiLM after the ReLU (the paper) or between norm and ReLU, or without.

    Before the ReLU, β moves its threshold. After it, an instance norm that follows the next convolution takes most of β
    away again: with that norm the former trains better.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: str | None, bias: bool, film_position: str, film: FiLM | None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1, bias=bias)
        self.norm = nn.Identity() if norm is None else get_norm_layer(NORMS[norm], 3, out_channels)
        self.film = film
        self.film_first = film_position == "before_activation"
        self.norm_with_film = False
        self.relu = True

    def unite_norm_and_film(self) -> None:
        """Let instance norm and the FiLM behind it be one, where they are; x needs a row per row of z."""
        self.norm_with_film = self.film is not None and self.film_first and isinstance(self.norm, nn.InstanceNorm3d)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        """What precedes the FiLM: convolution, and norm where it is not one with the FiLM."""
        x = conv3d(x, self.conv.weight, self.conv.bias)
        return x if self.norm_with_film else self.norm(x)

    def convolve_skip(self, skip: torch.Tensor) -> torch.Tensor:
        """The part of `convolve_up` that is of the skip connection alone: ``(B, C, D, H, W)``."""
        return conv3d(skip, self.conv.weight[:, : skip.shape[1]], self.conv.bias)

    def convolve_up(self, x: torch.Tensor, of_skip: torch.Tensor) -> torch.Tensor:
        """`convolve` of the skip connection concatenated with x up-sampled, without doing either.

        Args:
            x: ``(B * R, C', D / 2, H / 2, W / 2)``.
            of_skip: what `convolve_skip` gave, ``(B, C, D, H, W)``; image b is that of
                the rows ``b * R … b * R + R - 1``.
        """
        y = upsampled_conv(x, self.conv.weight[:, -x.shape[1] :])
        if of_skip.shape[0] == 1:  # as in FiLM
            y = y.add_(of_skip)
        else:
            y.unflatten(0, [of_skip.shape[0], y.shape[0] // of_skip.shape[0]]).add_(of_skip.unsqueeze(1))
        return y if self.norm_with_film else self.norm(y)

    def activate(self, x: torch.Tensor, z: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The block's output, and the activation before a FiLM that follows it (what ``skip="first_conv"`` takes)."""
        if self.film is None or z is None:
            if self.relu:
                x = F.relu_(x)  # nobody else holds it, and no gradient needs it
            return x, x
        if hasattr(self.norm, "weight"):  # noqa: SIM102 (TorchScript would compile the next line for any norm)
            if self.norm_with_film:
                x = F.relu_(self.film.normalize(x, z, self.norm.weight, self.norm.bias))
                return x, x
        if self.film_first:
            x = F.relu(self.film(x, z))
            return x, x
        activation = F.relu(x)
        return self.film(activation, z), activation

    def forward(self, x: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        """The block's output ``(B * R, C, D, H, W)``; z ``(B * R, E)`` is for its FiLM."""
        return self.activate(self.convolve(x), z)[0]


class Encoder(nn.Module):
    """Levels of blocks with max pooling between them.

    Args:
        blocks: of each level, finest first.
        plain: the number of blocks before the first with FiLM.
        skip: see `Backbone`.
    """

    def __init__(self, blocks: Sequence[Sequence[ConvBlock]], plain: int, skip: str) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.ModuleList(level) for level in blocks)
        self.pool = nn.MaxPool3d(2)
        self.plain = plain
        self.skip_first = skip == "first_conv"

    def forward(self, x: torch.Tensor, z: torch.Tensor | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Without z: up to the first FiLM. With it: from there on.

        Args:
            x: ``(B, C, D, H, W)``, sides divisible by the levels' pooling; with z, what this gave without.
            z: embeddings ``(B * R, E)``.

        Returns:
            x, at the end that of the bottleneck, and what the levels above it that were passed give to the decoder,
            finest first.
        """
        i = 0
        skips: list[torch.Tensor] = []
        for depth, level in enumerate(self.levels):
            for j, block in enumerate(level):
                if (z is None and i <= self.plain) or (z is not None and i > self.plain):
                    if depth > 0 and j == 0:
                        x = self.pool(x)
                    x = block.convolve(x)
                if (i < self.plain) == (z is None):
                    x, activation = block.activate(x, z)
                    if depth < len(self.levels) - 1:
                        if self.skip_first:
                            if j == 0:
                                skips.append(activation)
                        elif j == len(level) - 1:
                            skips.append(x)
                i += 1
        return x, skips


class Decoder(nn.Module):
    """Levels of blocks, the first of each reading a skip connection beside what it up-samples.

    Args: as for `Encoder`; the blocks coarsest first.

    ``conditioned_levels`` is the number of levels whose first convolution FiLM precedes.
    """

    def __init__(self, blocks: Sequence[Sequence[ConvBlock]], plain: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.ModuleList(level) for level in blocks)
        self.plain = plain
        before = [0, *accumulate(len(level) for level in blocks)]
        self.conditioned_levels = sum(convs > plain for convs in before[:-1])

    def convolve_skips(self, skips: list[torch.Tensor], begin: int) -> list[torch.Tensor]:
        """What the levels compute of skip connections alone, which no FiLM of the decoder precedes.

        Args:
            skips: of some levels of the encoder, finest first.
            begin: the level of the first of them.
        """
        found: list[torch.Tensor] = []
        for depth, level in enumerate(self.levels):
            i = len(self.levels) - 1 - depth - begin
            for j, block in enumerate(level):
                if j == 0 and i >= 0 and i < len(skips):
                    found.append(block.convolve_skip(skips[i]))
        return found[::-1]

    def forward(self, x: torch.Tensor, of_skips: list[torch.Tensor], z: torch.Tensor | None) -> torch.Tensor:
        """Without z: up to the first FiLM. With it: from there on; at the end, the features of the finest level.

        Args:
            x: that of the bottleneck; with z, what this gave without.
            of_skips: `convolve_skips` of all levels; with z, of the conditioned levels.
            z: embeddings ``(B * R, E)``.
        """
        i = 0
        for depth, level in enumerate(self.levels):
            for j, block in enumerate(level):
                if (z is None and i <= self.plain) or (z is not None and i > self.plain):
                    x = block.convolve_up(x, of_skips[len(self.levels) - 1 - depth]) if j == 0 else block.convolve(x)
                if (i < self.plain) == (z is None):
                    x = block.activate(x, z)[0]
                i += 1
        return x


def level_blocks(
    before: int,
    features: int,
    convs: int,
    norm: str | None,
    bias: bool,
    film_position: str,
    films: Iterator[FiLM | None],
) -> list[ConvBlock]:
    """The blocks of a level, the first from ``before`` to ``features`` channels."""
    ends = pairwise([before] + [features] * convs)
    return [ConvBlock(a, b, norm, bias, film_position, next(films)) for a, b in ends]
