"""What the networks of all methods share.

Every method has ``encode(image) -> features``, what does not depend on the regions; ``decode(features, regions) ->
logits``; and ``forward(image, regions)``, which is the two. Regions are indices: ``(R,)`` for all images of a batch, or
``(B, R)``, some for each image. Features are a list of tensors whose first is the image.
"""

from __future__ import annotations

from typing import Any

import torch
from conemos_bundle.networks.pairs import VOXELS_AT_ONCE, decode_pairs
from torch import nn
from torch.nn.modules.module import _IncompatibleKeys

CAME_LATER = {"spacings": None, "last_relu": True}  # not recorded: trainings of before know no such argument


class RegionNetwork(nn.Module):
    """A network that segments the regions it is asked for.

    ``num_regions`` is K; ``num_indices`` is K, or K times the number of ``spacings`` that it was made for;
    ``arguments`` is what a finished run needs to build the network again.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        """Args: ``locals()`` of the network's own ``__init__``, whose parameters are recorded."""
        super().__init__()
        self.arguments = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in arguments.items()
            if name not in ("self", "__class__") and not (name in CAME_LATER and value is CAME_LATER[name])
        }
        self.num_regions = int(arguments["num_regions"])
        if self.num_regions < 1:
            raise ValueError(f"num_regions={self.num_regions}: at least one region is needed")
        self.num_indices = self.num_regions * len(arguments.get("spacings") or [None])
        self.register_load_state_dict_post_hook(reject_missing_weights)

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """What does not depend on the regions asked for.

        Args:
            image: ``(B, C, D, H, W)`` of any size.

        Returns:
            tensors of the batch size B, the image itself first.
        """
        raise NotImplementedError

    def encode_for(self, image: torch.Tensor, regions: torch.Tensor | None) -> list[torch.Tensor]:
        """`encode`, or as much of it as decoding these regions reads."""
        return self.encode(image)

    def decode(self, features: list[torch.Tensor], regions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of regions.

        Args:
            features: what `encode` gave; it is left as it is, so that more regions can be asked of it.
            regions: indices ``(R,)``, for all images, or ``(B, R)``, for each image its own; None: all K regions.

        Returns:
            ``(B, R, D, H, W)``, in the order asked for.

        Raises:
            RuntimeError: ``regions`` has another shape, or is not of integers.
        """
        raise NotImplementedError

    def forward(
        self,
        image: torch.Tensor,
        regions: torch.Tensor | None = None,
        images: torch.Tensor | None = None,
        voxels_at_once: int = VOXELS_AT_ONCE,
    ) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)`` of the regions of an image ``(B, C, D, H, W)``: `decode` of `encode`.

        With ``images``, indices ``(P,)``, the rows of ``regions``, ``(P, R)``, are asked of these images, in any number
        of each, and the logits are ``(P, R, D, H, W)``; for ``voxels_at_once`` see `decode_pairs`. It is in here since
        `DistributedDataParallel` follows this method alone; TorchScript leaves it out.
        """
        features = self.encode_for(image, regions)
        if not torch.jit.is_scripting() and images is not None and regions is not None:
            return decode_pairs(self.decode, features, images, regions, voxels_at_once)
        return self.decode(features, regions)


def reject_missing_weights(module: nn.Module, keys: _IncompatibleKeys) -> None:
    """Hook after `load_state_dict`: raise where weights are missing, ``strict=False`` or not.

    MONAI Label loads with ``strict=False``; a network with random FiLM weights would answer with nonsense.
    """
    if keys.missing_keys:
        raise RuntimeError(
            f"{type(module).__name__}: the checkpoint lacks {len(keys.missing_keys)} weights, {keys.missing_keys[0]!r} "
            "the first; models/model.pt must be the flat state_dict of this very network"
        )


def indices(regions: torch.Tensor | None, num_regions: int, batch: int, device: torch.device) -> torch.Tensor:
    """Indices ``(B, R)`` of the regions asked of each image; arguments as for `RegionNetwork.decode`.

    Raises:
        RuntimeError: ``regions`` has another shape, or is not of integers.
    """
    if regions is None:
        asked = torch.arange(num_regions, device=device)
    else:
        if regions.is_floating_point():
            raise RuntimeError("regions are indices, (R,) or (B, R), not a one-hot code")
        asked = regions.to(device=device, dtype=torch.long)
    if asked.dim() == 1:
        asked = asked.unsqueeze(0).expand(batch, -1)
    if asked.dim() != 2 or asked.shape[0] != batch:
        raise RuntimeError("regions must be indices (R,), or (B, R) with a row per image")
    return asked


def one_hot(regions: torch.Tensor, num_regions: int, dtype: torch.dtype) -> torch.Tensor:
    """Indices ``(…)`` as one-hot rows ``(…, K)``.

    Raises:
        IndexError: an index is below 0 or not below K.
    """
    return nn.functional.embedding(regions, torch.eye(num_regions, dtype=dtype, device=regions.device))


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside `DistributedDataParallel`, or the network itself."""
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
