"""Feature-wise linear modulation (FiLM; Perez et al., AAAI 2018)."""

from __future__ import annotations

import torch


def film(features: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """``(1 + gamma) * features + beta``, a scale and a shift a sample and channel.

    With ``gamma = beta = 0`` the features come back unchanged.

    Args:
        features: ``(B, C, D, H, W)``, or two-dimensional ``(B, C, H, W)``.
        gamma: ``(B * R, C)``; sample b is modulated by its R rows ``b * R … b * R + R - 1``.
        beta: ``(B * R, C)``.

    Returns:
        ``(B * R, C, D, H, W)``: features computed once are modulated R times without being copied first.
    """
    batch = features.shape[0]
    shape = [batch, gamma.shape[0] // batch, gamma.shape[1]] + [1] * (features.dim() - 2)
    scale = (1 + gamma).to(features.dtype).view(shape)
    return torch.addcmul(beta.to(features.dtype).view(shape), features.unsqueeze(1), scale).flatten(0, 1)
