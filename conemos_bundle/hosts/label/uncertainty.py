"""How sure a network is of a region, and which scan and region is worth annotating next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def least_confident(
    confidences: Mapping[str, Mapping[str, float]],
    annotated: Mapping[str, Any],
    served: Mapping[str, Mapping[str, float]],
    now: float,
    pause: float = 3600,
) -> tuple[str, str] | None:
    """The scan and the region that the network is least sure of, among those that nobody has annotated.

    Args:
        confidences: of each scan, that of each region.
        annotated: of each scan, the regions that are annotated.
        served: of each scan, when each region was proposed, in seconds.
        now: the time, in seconds.
        pause: seconds for which a pair is not proposed again, unless no other is left: two annotators get two pairs.

    Returns:
        scan and region; None where everything is annotated.
    """
    pairs = [
        (scan, region)
        for scan, regions in confidences.items()
        for region in regions
        if region not in annotated.get(scan, ())
    ]

    def last(pair: tuple[str, str]) -> float:
        return served.get(pair[0], {}).get(pair[1], float("-inf"))

    fresh = [pair for pair in pairs if now - last(pair) >= pause]
    if fresh:
        return min(fresh, key=lambda pair: (confidences[pair[0]][pair[1]], pair))
    return min(pairs, key=last) if pairs else None
