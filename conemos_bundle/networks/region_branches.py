"""Branches of a network, one a region, of which only those asked for are computed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class RegionBranches(nn.Module):
    """K branches, each from a list of shared tensors ``(B, …)`` to the logits ``(B, 1, D, H, W)`` of a region."""

    def __init__(self, branches: Iterable[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, shared: list[torch.Tensor], code: torch.Tensor, one_each: bool) -> torch.Tensor:
        """Logits.

        Args:
            shared: what all branches start from.
            code: ``(R, K)``, the regions of all images alike, or, with ``one_each``, ``(B, K)``, one an image.
            one_each: whether each image has a region of its own.

        Returns:
            ``(B, R, D, H, W)``, or ``(B, 1, D, H, W)`` with ``one_each``.
        """
        asked = code.argmax(1)
        rows: list[torch.Tensor] = []  # where in the result each branch's logits go
        logits: list[torch.Tensor] = []
        for k, branch in enumerate(self.branches):
            places = (asked == k).nonzero().flatten()
            if places.numel() > 0:
                if one_each:
                    logits.append(branch([tensor[places] for tensor in shared]))
                else:
                    logits.append(torch.cat([branch(shared)] * places.numel(), 1))
                rows.append(places)
        if one_each:
            return torch.cat(logits)[torch.cat(rows).argsort()]
        return torch.cat(logits, 1)[:, torch.cat(rows).argsort()]
