"""CoNeMOS: one UNet that segments the region it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from conemos_bundle.networks.backbone import Backbone, keras_initialization
from conemos_bundle.networks.film import FiLM
from conemos_bundle.networks.interface import RegionNetwork, indices
from torch import nn

FILM_INITS = ("glorot", "identity")


def region_codes(num_regions: int, spacings: Sequence[Sequence[float]] | None = None) -> torch.Tensor:
    """What is told of each index: the region one-hot and, where there are spacings, how fine each is.

    That is log2 of a spacing over the geometric mean of all: around 0, so that it does not outweigh the region. With
    the plain logarithm of 3 and 6 mm one seed of two trained slowly.

    Args:
        num_regions: K.
        spacings: L voxel spacings, three numbers in mm each.

    Returns:
        ``(K, K)``, or ``(K * L, K + 3)``, the row of region k at spacing l at ``k + K * l``.
    """
    one_hot = torch.eye(num_regions)
    if spacings is None:
        return one_hot
    of_level = torch.tensor([list(spacing) for spacing in spacings]).log2()
    of_level = of_level - of_level.mean(0)
    return torch.cat([one_hot.repeat(len(of_level), 1), of_level.repeat_interleave(num_regions, 0)], 1)


class FiLMUNet(RegionNetwork):
    """A UNet conditioned on a region by FiLM after its last N convolutions (CoNeMOS, section 3.5).

    Args:
        in_channels: channels of the image.
        num_regions: K.
        channels: features of each level, finest first.
        convs_per_level: convolutions per level.
        mlp_width: units of each layer that embeds the region.
        mlp_depth: number of these layers, each followed by Leaky-ReLU 0.2.
        n_conditioned: condition only the last n convolutions (of 15 with four levels of two); None: all (Figure 4B).
        norm: ``None`` (the paper), ``"instance"`` or ``"batch"``.
        skip: ``"last"``, the usual; ``"first_conv"``, the authors' code's (see `Backbone`).
        film_position: ``"after_activation"`` (the paper) or ``"before_activation"`` (see `ConvBlock`).
        film_init: ``"glorot"`` (the authors), or ``"identity"``: γ and β of every region begin at 0, so training
            begins with one network for all regions and takes them apart from there.
        spacings: voxel spacings (three numbers in mm each) that regions may be asked for at; the condition is then the
            region and the spacing (`region_codes`; as Lemay et al., MELBA 2021, condition on metadata), and the index
            of region k at spacing l is ``k + K * l``. None: one, which the network is not told.

    Raises:
        ValueError: an option has no such value.

    Example::

        >>> network, image = FiLMUNet(num_regions=3), torch.rand(1, 1, 32, 32, 32)
        >>> network(image, torch.tensor([2, 0])).shape
        torch.Size([1, 2, 32, 32, 32])
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_regions: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        convs_per_level: int = 2,
        mlp_width: int = 64,
        mlp_depth: int = 4,
        n_conditioned: int | None = None,
        norm: str | None = None,
        skip: str = "last",
        film_position: str = "after_activation",
        film_init: str = "glorot",
        spacings: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__(locals())
        if film_init not in FILM_INITS:
            raise ValueError(f"film_init={film_init!r}: use one of {FILM_INITS}")
        # what the embedding reads of each index; no parameter, and made anew by whoever loads weights
        codes = region_codes(num_regions, spacings)
        self.register_buffer("codes", codes, persistent=False)
        widths = [codes.shape[1]] + [mlp_width] * mlp_depth
        self.embedding = nn.Sequential(*[m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.LeakyReLU(0.2))])
        self.backbone = Backbone(
            in_channels, 1, channels, convs_per_level, norm, skip,
            bias=False, film_position=film_position, embedding=widths[-1], n_conditioned=n_conditioned,
        )  # fmt: skip
        keras_initialization(self)
        if film_init == "identity":
            for module in self.modules():
                if isinstance(module, FiLM):
                    nn.init.zeros_(module.projection.weight)

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """What precedes the first FiLM; with all convolutions conditioned, the first convolution alone."""
        return self.backbone.encode(image)

    def decode(self, features: list[torch.Tensor], regions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)``, as `RegionNetwork.decode`."""
        image = features[0]
        batch = image.shape[0]
        asked = indices(regions, self.num_regions, batch, image.device)
        codes: torch.Tensor = self.codes  # type: ignore[assignment]
        if regions is None or regions.dim() == 1:  # embedded once for all images
            z = self.embedding(nn.functional.embedding(asked[0], codes)).repeat(batch, 1)
        else:
            z = self.embedding(nn.functional.embedding(asked.flatten(), codes))
        logits = self.backbone.decode(features, z)
        return logits.unflatten(0, [batch, logits.shape[0] // batch]).squeeze(2)
