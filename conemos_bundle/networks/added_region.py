"""A region that a trained, frozen network is taught: γ and β of its own, and a small change of each convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.networks.blocks import ConvBlock
from conemos_bundle.networks.film import FiLM
from conemos_bundle.networks.film_unet import FiLMUNet
from conemos_bundle.networks.interface import RegionNetwork
from torch import nn
from torch.nn.utils import parametrize

CAPACITIES = ("film", "low_rank", "decoder")
_ORIGINAL = ".conv.parametrizations.weight.original"


class LowRank(nn.Module):
    """``W + up @ down``: a frozen convolution's weight with a change of low rank (LoRA; Hu et al., ICLR 2022).

    Args:
        weight: W, ``(C, C', k, k, k)``.
        rank: of the change, which begins at zero.
    """

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, weight[0].numel()))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The changed weight."""
        return weight + (self.up @ self.down).reshape(weight.shape)


def own_backbone(
    in_channels: int, channels: Sequence[int], convs_per_level: int, norm: str | None, skip: str, film_position: str
) -> Backbone:
    """A backbone for one region: as `FiLMUNet`'s, all convolutions with FiLM, whose γ and β are a layer's bias."""
    return Backbone(
        in_channels, 1, channels, convs_per_level, norm, skip, bias=False, film_position=film_position, embedding=1
    )


class AddedRegion(RegionNetwork):
    """What is trained when a region is added to a `FiLMUNet`; `begin_as` gives it that network's weights.

    Args:
        in_channels: channels of the image.
        num_regions: 1.
        channels: as of the network that it is added to, and so ``convs_per_level``, ``norm``, ``skip`` and
            ``film_position``.
        capacity: what is learned: ``"film"``, γ and β after every convolution; ``"low_rank"``, a change of each
            convolution too; ``"decoder"``, γ, β and all convolutions behind the encoder.
        rank: of the changes.

    Raises:
        ValueError: an option has no such value.

    Example::

        >>> base = FiLMUNet(num_regions=3, channels=(4, 8), norm="instance", n_conditioned=3)
        >>> added = AddedRegion(channels=(4, 8), norm="instance", rank=2)
        >>> added.begin_as(base, 1)
        >>> image = torch.rand(1, 1, 16, 16, 16)
        >>> torch.allclose(added(image), base(image, torch.tensor([1])), atol=1e-5)
        True
        >>> sum(p.numel() for p in added.parameters() if p.requires_grad) < sum(p.numel() for p in base.parameters())
        True
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_regions: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        convs_per_level: int = 2,
        norm: str | None = None,
        skip: str = "last",
        film_position: str = "after_activation",
        capacity: str = "low_rank",
        rank: int = 4,
    ) -> None:
        super().__init__(locals())
        if num_regions != 1 or capacity not in CAPACITIES or rank < 1:
            raise ValueError(f"an added region is one, of a capacity out of {CAPACITIES} and a rank of at least 1")
        self.backbone = own_backbone(in_channels, channels, convs_per_level, norm, skip, film_position)
        self.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, FiLM):
                nn.init.zeros_(module.projection.weight)
                module.projection.bias.requires_grad_(True)
        if capacity == "low_rank":
            for module in [each for each in self.modules() if isinstance(each, ConvBlock)]:
                parametrize.register_parametrization(module.conv, "weight", LowRank(module.conv.weight, rank))
        if capacity == "decoder":
            for module in self.backbone.decoder.modules():
                if isinstance(module, nn.Conv3d):
                    module.weight.requires_grad_(True)
            self.backbone.final.weight.requires_grad_(True)  # type: ignore[union-attr, operator]

    def begin_as(self, base: FiLMUNet, region: int | None) -> None:
        """Take over what a network computes for one of its regions, or, with None, with the mean of their γ and β."""
        theirs = base.backbone.state_dict()
        ours = self.backbone.state_dict()
        with torch.no_grad():
            codes: torch.Tensor = base.codes  # type: ignore[assignment]
            z = base.embedding(codes[: base.num_regions])
            z = z if region is None else z[region : region + 1]
            films = dict(base.backbone.named_modules())
            for name, tensor in ours.items():
                source = name.replace(_ORIGINAL, ".conv.weight")
                if name.endswith("projection.bias"):
                    film = films.get(name.removesuffix(".projection.bias"))
                    tensor.copy_(film.projection(z).mean(0) if isinstance(film, FiLM) else torch.zeros_like(tensor))
                elif source in theirs and "projection" not in name:
                    tensor.copy_(theirs[source])

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The image: all of the network is the region's own."""
        return [image]

    def decode(self, features: list[torch.Tensor], regions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)``, as `RegionNetwork.decode`: the one region, as often as it is asked for."""
        image = features[0]
        z = torch.ones(image.shape[0], 1, device=image.device)  # what is asked for is always the same
        logits = self.backbone.decode(self.backbone.encode(image), z)
        return logits if regions is None else logits.expand(-1, regions.shape[-1], -1, -1, -1)


def own_weights(network: AddedRegion) -> dict[str, torch.Tensor]:
    """What a region learned, by the names of `own_backbone`; changes of convolutions as ``up`` and ``down``.

    The statistics of batch norms are the region's own too: its training moves them.
    """
    learned = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    kept = {**learned, **dict(network.named_buffers())}
    return {name.removeprefix("backbone."): tensor.detach().cpu().clone() for name, tensor in kept.items()}


def with_own_weights(
    base: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], backbone: Backbone
) -> dict[str, torch.Tensor]:
    """The flat state_dict of `own_backbone` for an added region.

    Args:
        base: the flat state_dict of the network that the region was added to.
        own: what is the region's own; a convolution is given whole, or changed by ``up @ down``.
        backbone: what they are for.

    Raises:
        ValueError: they do not fit together, or something is told of what is not there.
        RuntimeError: shapes or types of a change do not fit.
    """
    found: dict[str, torch.Tensor] = {}
    used: set[str] = set()
    for name, tensor in backbone.state_dict().items():
        change = [f"{name.removesuffix('.weight')}.parametrizations.weight.0.{part}" for part in ("up", "down")]
        if name in own:
            weight = own[name]
        elif name.endswith("projection.weight"):
            weight = torch.zeros_like(tensor)
        elif f"backbone.{name}" in base and not name.endswith("projection.bias"):
            weight = base[f"backbone.{name}"]
        else:
            raise ValueError(f"nothing is told of {name}")
        told = [part for part in change if part in own]
        if len(told) == 1:
            raise ValueError(f"half of the change of {name} is told")
        if told:
            weight = weight + (own[change[0]] @ own[change[1]]).reshape(weight.shape)
        if weight.shape != tensor.shape:
            raise ValueError(f"{name} has the shape {tuple(weight.shape)}, not {tuple(tensor.shape)}")
        found[name] = weight.to(tensor.dtype)
        used |= {name, *told}
    if unknown := sorted(own.keys() - used):
        raise ValueError(f"there is no {unknown[0][:80]}")
    return found


def rescaled(own: Mapping[str, torch.Tensor], factor: float) -> dict[str, torch.Tensor]:
    """What is the region's own, with all logits times a factor: by γ and β behind the last convolution."""
    name = "final_film.projection.bias"
    gamma, beta = own[name].chunk(2)
    return {**own, name: torch.cat([(1 + gamma) * factor - 1, beta * factor])}
