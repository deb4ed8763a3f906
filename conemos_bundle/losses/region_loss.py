"""The loss over what is annotated: regions, and voxels of them."""

from __future__ import annotations

import torch
from conemos_bundle.utils.known import known_voxels
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
    """Soft Dice loss (equation A1), optionally with cross-entropy, over the voxels whose answer is known.

    ``1 - 2 Σ y p / (Σ y² + Σ p²)`` per scan and region, each sum with 1e-7 added as in the authors' code.

    Where no known voxel lies inside the region (it is absent, or the patch does not hold it), soft Dice has nothing to
    say: the loss is the cross-entropy alone, with its weight, or with weight 1 where that is 0. Otherwise a region
    would never be told that it is absent.

    Args:
        cross_entropy: weight of the binary cross-entropy (mean over known voxels) added to it; 0 leaves it out.
    """

    def __init__(self, cross_entropy: float = 0.0) -> None:
        super().__init__()
        self.cross_entropy = cross_entropy
        self.dice = DiceLoss(squared_pred=True, smooth_nr=1e-7, smooth_dr=1e-7, reduction="none")

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar; its gradient is exactly 0 where nothing is known.

        Args:
            logits: ``(B, K, D, H, W)``; K is 1 for a conditioned network, which predicts the region drawn.
            target: masks of the same shape, NaN in ignored voxels and in the whole channel of an unknown region.
        """
        logits = logits.float()
        known, target = known_voxels(target)
        probabilities = logits.sigmoid().masked_fill(~known, 0.0)
        soft_dice = self.dice(probabilities, target).flatten(1)
        entropy = binary_cross_entropy_with_logits(logits, target, reduction="none").masked_fill(~known, 0.0)
        entropy = entropy.flatten(2).sum(2) / known.flatten(2).sum(2).clamp(min=1)
        present = target.flatten(2).amax(2) > 0
        losses = torch.where(present, soft_dice + self.cross_entropy * entropy, (self.cross_entropy or 1.0) * entropy)
        return mean_over_annotated(losses, known.flatten(2).any(2))
