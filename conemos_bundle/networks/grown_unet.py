"""A `FiLMUNet` and regions that were added to it: the old ones are computed as before, by the same weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from conemos_bundle.networks.added_region import own_backbone
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.networks.film_unet import FiLMUNet
from conemos_bundle.networks.interface import RegionNetwork, indices
from torch import nn


class _Added(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.backbone.decode(self.backbone.encode(image), torch.ones(image.shape[0], 1, device=image.device))


class GrownUNet(RegionNetwork):
    """A conditioned network with added regions, which stand behind its own; each of them is a pass by itself.

    Args:
        in_channels: as of `FiLMUNet`, and so all that is not said here.
        num_regions: K, of which the last ``added`` were added.
        added: how many, at least one.

    Raises:
        ValueError: an option has no such value.

    Example::

        >>> network, image = GrownUNet(num_regions=3, added=1, channels=(4, 8)), torch.rand(1, 1, 16, 16, 16)
        >>> network(image, torch.tensor([2, 0])).shape
        torch.Size([1, 2, 16, 16, 16])
        >>> torch.equal(network(image, torch.tensor([0])), network.base(image, torch.tensor([0])))
        True
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_regions: int = 2,
        added: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        convs_per_level: int = 2,
        mlp_width: int = 64,
        mlp_depth: int = 4,
        n_conditioned: int | None = None,
        norm: str | None = None,
        skip: str = "last",
        film_position: str = "after_activation",
        film_init: str = "glorot",
    ) -> None:
        super().__init__(locals())
        if not 1 <= added < num_regions:
            raise ValueError(f"added={added}: of {num_regions} regions at least one is added, and one is not")
        self.old = num_regions - added
        self.base = FiLMUNet(
            in_channels, self.old, channels, convs_per_level, mlp_width, mlp_depth, n_conditioned, norm, skip,
            film_position, film_init,
        )  # fmt: skip
        shape = in_channels, channels, convs_per_level, norm, skip, film_position
        self.added = nn.ModuleList(_Added(own_backbone(*shape)) for _ in range(added))

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """What the network that grew makes of the image; added regions go by the image alone."""
        return self.base.encode(image)

    def encode_for(self, image: torch.Tensor, regions: torch.Tensor | None) -> list[torch.Tensor]:
        """The image alone where none but added regions are asked for; exported programs encode it anyway."""
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript compiles what an `and` joins)
            if torch.compiler.is_exporting():
                return self.encode(image)
        if regions is None or bool((regions < self.old).any()):
            return self.encode(image)
        return [image]

    def decode(self, features: list[torch.Tensor], regions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)``, as `RegionNetwork.decode`.

        Raises:
            RuntimeError: an index is below 0 or not below K, or ``regions`` has another shape.
        """
        image = features[0]
        asked = indices(regions, self.num_regions, image.shape[0], image.device)
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript compiles what an `and` joins)
            if torch.compiler.is_exporting():
                return self._every(features, asked)
        if bool((asked < 0).any()) or bool((asked >= self.num_regions).any()):
            raise RuntimeError("index of a region out of range")
        if regions is None or regions.dim() == 1:
            return self._each(features, asked[0])
        rows: list[torch.Tensor] = []
        for i in range(image.shape[0]):
            of_image = [tensor[i : i + 1] for tensor in features]
            rows.append(self._each(of_image, asked[i]))
        return torch.cat(rows)

    def _each(self, features: list[torch.Tensor], asked: torch.Tensor) -> torch.Tensor:
        """Those asked for, ``(R,)``, of all images: the old ones together, as the network before would be asked."""
        old = asked[asked < self.old]
        logits: list[torch.Tensor] = []
        places: list[torch.Tensor] = []
        if old.shape[0] > 0:
            logits.append(self.base.decode(features, old))
            places.append((asked < self.old).nonzero()[:, 0])
        for k, branch in enumerate(self.added):
            found = (asked == self.old + k).nonzero()[:, 0]
            if found.shape[0] > 0:
                logits.append(branch(features[0]).repeat(1, found.shape[0], 1, 1, 1))
                places.append(found)
        if len(logits) == 1:
            return logits[0]
        return torch.cat(logits, 1)[:, torch.cat(places).argsort()]

    def _every(self, features: list[torch.Tensor], asked: torch.Tensor) -> torch.Tensor:
        """The same without branches, for programs that have none: all added ones are computed, asked for or not."""
        logits = self.base.decode(features, asked.clamp(max=self.old - 1))
        for k, branch in enumerate(self.added):
            chosen = (asked == self.old + k).reshape(asked.shape[0], asked.shape[1], 1, 1, 1)
            logits = torch.where(chosen, branch(features[0]), logits)
        return logits
