"""How sure a network is of a region."""

from __future__ import annotations

import torch


def soft_dice_confidence(probability: torch.Tensor, threshold: float = 0.5) -> float:
    """The Dice that the network itself expects of its mask: 2 Σ p·m / (Σ p + Σ m), with the mask m = p > threshold.

    It compares small and large regions alike. Borges et al., Soft Dice confidence: a near-optimal confidence estimator
    for selective prediction in semantic segmentation, arXiv 2402.10665.

    Args:
        probability: of any shape, in [0, 1].
        threshold: above which a voxel belongs to the region.

    Returns:
        in [0, 1]; 0 where nothing is found.
    """
    probability = torch.as_tensor(probability).float()
    mask = probability > threshold
    total = probability.sum() + mask.sum()
    return float(2 * probability[mask].sum() / total) if bool(mask.any()) else 0.0
