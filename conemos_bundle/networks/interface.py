"""What the networks of all methods share: their interface, and a refusal of weights that lack something.

Every method has ``forward(x, regions=None, condition=None)``: the image ``(B, C, D, H, W)`` in; logits out, of all K
regions ``(B, K, D, H, W)``, of the R rows of a region code ``(R, K)`` as ``(B, R, D, H, W)``, or of each image's own
region, a one-hot condition ``(B, K)``, as ``(B, 1, D, H, W)``.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.module import _IncompatibleKeys


def refuse_missing_weights(module: nn.Module, keys: _IncompatibleKeys) -> None:
    """Hook after `load_state_dict`: raise where weights are missing, ``strict=False`` or not.

    MONAI Label loads with ``strict=False``; a network with random FiLM weights would answer with nonsense.
    """
    if keys.missing_keys:
        raise RuntimeError(
            f"{type(module).__name__}: the checkpoint lacks {len(keys.missing_keys)} weights, {keys.missing_keys[0]!r} "
            "the first; models/model.pt must be the flat state_dict of this very network"
        )


def regions_as_channels(logits: torch.Tensor, batch: int) -> torch.Tensor:
    """``(B * R, 1, …)`` to ``(B, R, …)``."""
    return logits.unflatten(0, [batch, logits.shape[0] // batch]).squeeze(2)  # views, whatever the strides


def checked_code(
    x: torch.Tensor, regions: torch.Tensor | None, condition: torch.Tensor | None, num_regions: int
) -> torch.Tensor:
    """The code asked for, on the image's device: ``regions`` ``(R, K)`` or ``condition`` ``(B, K)``; none: all K.

    Raises:
        RuntimeError: both are given, the code has not K columns, or the condition not one row an image.
    """
    if regions is not None and condition is not None:
        raise RuntimeError("give regions (R, K) or condition (B, K), not both")
    if condition is not None:
        code = condition
        if code.shape[0] != x.shape[0]:
            raise RuntimeError("condition needs one row (K,) an image")
    elif regions is not None:
        code = regions
    else:
        code = torch.eye(num_regions)
    if code.dim() != 2 or code.shape[1] != num_regions:
        raise RuntimeError("regions must be (R, K) and condition (B, K), with K the network's number of regions")
    return code.to(dtype=x.dtype, device=x.device)
