"""The loss over annotated regions only."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits


def mean_over_annotated(losses: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Mean over the annotated regions of each scan, then over the scans that have any.

    Args:
        losses: ``(B, K)``, finite also where a region is unknown.
        annotated: ``(B, K)`` bool.
    """
    counts = annotated.sum(1)
    means = (losses * annotated).sum(1) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)


class RegionLoss(nn.Module):
    """Soft Dice loss (equation A1), optionally with cross-entropy, over what is annotated.

    ``1 - 2 Σ y p / (Σ y² + Σ p²)`` a scan and region, each sum with 1e-7 added as in the authors' code.

    Args:
        cross_entropy: weight of the binary cross-entropy added to it; 0 leaves it out.
    """

    def __init__(self, cross_entropy: float = 0.0) -> None:
        super().__init__()
        self.cross_entropy = cross_entropy
        self.dice = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=1e-7, smooth_dr=1e-7, reduction="none")

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar.

        Args:
            logits: ``(B, K, D, H, W)``; K is 1 for a conditioned network, which predicts the region drawn.
            target: masks of the same shape, whole channels NaN where a region is unknown.
        """
        logits = logits.float()
        annotated = ~target.flatten(2)[:, :, 0].isnan()
        target = target.nan_to_num()
        losses = self.dice(logits, target).flatten(1)
        if self.cross_entropy:
            entropy = binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(2).mean(2)
            losses = losses + self.cross_entropy * entropy
        return mean_over_annotated(losses, annotated)
