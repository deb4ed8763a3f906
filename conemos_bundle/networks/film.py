"""Feature-wise linear modulation (FiLM; Perez et al., AAAI 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class FiLM(nn.Module):
    """``(1 + γ(z)) * x + β(z)``: a scale and a shift per image, region and channel (paper, section 3.5).

    Args:
        embedding: E, the length of the embedding z.
        channels: C, those of the features.

    Example::

        >>> FiLM(64, 16)(torch.rand(2, 16, 8, 8, 8), torch.rand(2 * 3, 64)).shape
        torch.Size([6, 16, 8, 8, 8])
    """

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(embedding, 2 * channels)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Modulated features.

        Args:
            x: ``(B, C, D, H, W)``: computed once per image, they are modulated R times without being copied first;
                or ``(B * R, C, D, H, W)``.
            z: ``(B * R, E)``; image b has the rows ``b * R … b * R + R - 1``.

        Returns:
            ``(B * R, C, D, H, W)``.
        """
        gamma, beta = self.projection(z).to(x.dtype).chunk(2, dim=1)
        if x.shape[0] == 1:  # OpenVINO would change its layout for a sixth axis, and back
            shape = [gamma.shape[0], gamma.shape[1]] + [1] * (x.dim() - 2)
            return torch.addcmul(beta.reshape(shape), x, 1 + gamma.reshape(shape))
        shape = [x.shape[0], gamma.shape[0] // x.shape[0], gamma.shape[1]] + [1] * (x.dim() - 2)
        return torch.addcmul(beta.reshape(shape), x.unsqueeze(1), 1 + gamma.reshape(shape)).flatten(0, 1)

    def normalize(self, x: torch.Tensor, z: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """The features after instance norm and FiLM, whose scales and shifts are one: no pass over them for the FiLM.

        Args:
            x: ``(B * R, C, D, H, W)``.
            z: ``(B * R, E)``, a row per row of x.
            weight: ``(C,)``, of the instance norm, as ``bias``.
        """
        gamma, beta = self.projection(z).to(weight.dtype).chunk(2, dim=1)
        scale = 1 + gamma
        normed = F.instance_norm(
            x.flatten(0, 1).unsqueeze(0),  # the rows as channels
            weight=(weight * scale).reshape(-1),
            bias=(bias * scale + beta).reshape(-1),
        )
        return normed.reshape_as(x)
