"""The conditioner G: from a one-hot region to γ and β of every conditioned convolution (paper, section 3.5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Conditioner(nn.Module):
    """Shared dense layers that embed the region, then one linear layer a conditioned convolution.

    Args:
        num_regions: K, the length of the one-hot condition.
        channels: number of channels C of each conditioned convolution.
        width: units of each shared layer.
        depth: number of shared layers, each followed by Leaky-ReLU 0.2.
    """

    def __init__(self, num_regions: int, channels: Sequence[int], width: int = 64, depth: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Linear(num_regions if i == 0 else width, width), nn.LeakyReLU(0.2)]
        self.embedding = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(width if depth else num_regions, 2 * c) for c in channels)

    def forward(self, condition: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """γ and β, each a list of ``(N, C)``, one a conditioned convolution, of a condition ``(N, K)``."""
        embedding = self.embedding(condition)
        gammas: list[torch.Tensor] = []
        betas: list[torch.Tensor] = []
        for head in self.heads:
            gamma, beta = head(embedding).chunk(2, dim=1)
            gammas.append(gamma)
            betas.append(beta)
        return gammas, betas
