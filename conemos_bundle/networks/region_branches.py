"""Branches of a network, one per region, of which only those asked for are computed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class RegionBranches(nn.Module):
    """K branches, each from a list of shared tensors ``(B, …)`` to the logits ``(B, 1, D, H, W)`` of a region."""

    def __init__(self, branches: Iterable[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, shared: list[torch.Tensor], asked: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)`` of the regions asked of each image, indices ``(B, R)``.

        Raises:
            RuntimeError: an index is below 0 or not below K.
        """
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript compiles what an `and` joins)
            if torch.compiler.is_exporting():
                return self._every(shared, asked)
        if bool((asked < 0).any()) or bool((asked >= len(self.branches)).any()):
            raise RuntimeError("index of a region out of range")
        places: list[torch.Tensor] = []  # where in the result each branch's logits go
        logits: list[torch.Tensor] = []
        for k, branch in enumerate(self.branches):
            found = (asked == k).nonzero()  # (n, 2): image, place
            if found.shape[0] > 0:
                images, row = torch.unique(found[:, 0], return_inverse=True)
                own = shared if images.shape[0] == asked.shape[0] else [tensor[images] for tensor in shared]
                logits.append(branch(own)[row])
                places.append(found[:, 0] * asked.shape[1] + found[:, 1])
        in_order = torch.cat(logits)[torch.cat(places).argsort()]
        return in_order.unflatten(0, [asked.shape[0], asked.shape[1]]).squeeze(2)

    def _every(self, shared: list[torch.Tensor], asked: torch.Tensor) -> torch.Tensor:
        """The same without branches in the program, which exported ones cannot have: all are computed."""
        every = torch.cat([branch(shared) for branch in self.branches], 1)
        return every[torch.arange(asked.shape[0], device=asked.device)[:, None], asked]
