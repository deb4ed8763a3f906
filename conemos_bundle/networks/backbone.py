"""The backbone F: a UNet whose last convolutions can be modulated by FiLM (paper, section 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise

import torch
import torch.nn.functional as F
from conemos_bundle.networks.blocks import FILM_POSITIONS, NORMS, SKIPS, Decoder, Encoder, level_blocks
from conemos_bundle.networks.film import FiLM
from conemos_bundle.networks.padding import crop, padding_for
from torch import nn


def keras_initialization(network: nn.Module) -> None:
    """Glorot-uniform weights and no bias in convolutions and linear layers: Keras's default, which the authors use."""
    for module in network.modules():
        if isinstance(module, (nn.Conv3d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Backbone(nn.Module):
    """UNet: levels of convolutions, max pooling, nearest up-sampling, concatenation, a final 1×1×1 convolution.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits; None: no final convolution, the features come out.
        channels: features of each level, finest first.
        convs_per_level: convolutions per level.
        norm: ``None``, ``"instance"`` or ``"batch"``.
        skip: ``"last"``, the usual connection from the end of a level; ``"first_conv"``, the authors' code's, from its
            first convolution, after ReLU and before FiLM.
        bias: whether convolutions have a bias (the authors' conditioned networks have none).
        film_position: ``"after_activation"`` (the paper) or ``"before_activation"``.
        embedding: length of the embedding that FiLM reads; None: no FiLM.
        n_conditioned: with an embedding, how many convolutions have FiLM, the last ones; None: all.
        last_relu: without an embedding, whether a ReLU precedes the final convolution. Behind it features are never
            below 0, and a region whose weights the background pushes down early on may never be found.

    Raises:
        ValueError: an option has a value other than those above.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int | None = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        convs_per_level: int = 2,
        norm: str | None = None,
        skip: str = "last",
        bias: bool = True,
        film_position: str = "after_activation",
        embedding: int | None = None,
        n_conditioned: int | None = None,
        last_relu: bool = True,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("norm", norm, tuple(NORMS)),
            ("skip", skip, SKIPS),
            ("film_position", film_position, FILM_POSITIONS),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r}: use one of {allowed}")
        if convs_per_level < 1 or not channels:
            raise ValueError("a UNet needs at least one level and one convolution per level")
        self.factor = 2 ** (len(channels) - 1)
        # Voxels at the coarsest level: instance norm needs more than one; and oneDNN's bfloat16 weight gradients touch
        # memory that is not theirs where the first axis has two, or, of a transposed convolution, where the second has
        # one (torch 2.13, AMD EPYC).
        self.smallest = [3 * self.factor, 2 * self.factor, 1]
        features = [c for c in [*channels, *channels[-2::-1]] for _ in range(convs_per_level)]
        self.conv_channels = [*features, *([] if out_channels is None else [out_channels])]
        total, encoder_convs = len(self.conv_channels), len(channels) * convs_per_level
        n_conditioned = total if n_conditioned is None else n_conditioned
        if embedding is not None and not 1 <= n_conditioned <= total:
            raise ValueError(f"n_conditioned={n_conditioned}: this network has 1 to {total} convolutions")
        plain = total if embedding is None else total - n_conditioned  # convolutions before the first FiLM
        # what is not conditioned has no FiLM at all: DDP would wait for its gradients
        films = iter(
            None if embedding is None or i < plain else FiLM(embedding, c) for i, c in enumerate(self.conv_channels)
        )
        options = convs_per_level, norm, bias, film_position, films
        downward = [level_blocks(a, b, *options) for a, b in pairwise([in_channels, *channels])]
        upward = [level_blocks(low + high, high, *options) for low, high in pairwise(channels[::-1])]
        # the norm before the first FiLM is shared by all regions, those behind it are each region's own
        for block in [*chain(*downward, *upward)][plain + 1 :]:
            block.unite_norm_and_film()
        self.encoder = Encoder(downward, plain, skip)
        self.decoder = Decoder(upward, plain - encoder_convs)
        [*downward, *upward][-1][-1].relu = last_relu
        self.final: nn.Module = nn.Identity()
        self.final_film: FiLM | None = None
        if out_channels is not None:
            self.final = nn.Conv3d(channels[0], out_channels, kernel_size=1, bias=bias)
            self.final_film = next(films)
        # where the first FiLM is
        self.film_in_encoder = plain < encoder_convs
        self.film_in_decoder = encoder_convs <= plain < len(features)
        keras_initialization(self)

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """What no FiLM precedes: image, activations, and what the decoder's convolutions compute of skips.

        Args:
            image: ``(B, C, D, H, W)`` of any size: padded with zeros to what pooling needs.
        """
        x, skips = self.encoder(F.pad(image, padding_for(image, self.factor, self.smallest)), None)
        of_skips = self.decoder.convolve_skips(skips, 0)
        if not self.film_in_encoder:
            x = self.decoder(x, of_skips, None)
            if not self.film_in_decoder:
                x = self.final(x)
            of_skips = of_skips[: self.decoder.conditioned_levels]
        return [image, x] + of_skips  # noqa: RUF005 (TorchScript)

    def decode(self, features: list[torch.Tensor], z: torch.Tensor | None) -> torch.Tensor:
        """What FiLM precedes, cropped to the image's size.

        Args:
            features: what `encode` gave.
            z: embeddings ``(B * R, E)``; None: a plain UNet's.

        Returns:
            logits ``(B * R, out_channels, D, H, W)``.
        """
        x, of_skips = features[1], features[2:]
        if self.film_in_encoder:
            x, skips = self.encoder(x, z)
            of_skips = of_skips + self.decoder.convolve_skips(skips, len(of_skips))
        if self.film_in_encoder or self.film_in_decoder:
            x = self.final(self.decoder(x, of_skips, z))
        if self.final_film is not None and z is not None:
            x = self.final_film(x, z)
        return crop(x, padding_for(features[0], self.factor, self.smallest))
