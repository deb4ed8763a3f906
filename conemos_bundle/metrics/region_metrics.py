"""Dice and false positives of each region over partially annotated scans, as MONAI metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from conemos_bundle.utils.known import known_voxels
from monai.metrics import CumulativeIterationMetric, compute_dice
from monai.utils import convert_to_tensor


class RegionDice(CumulativeIterationMetric):
    """Dice per scan and region, averaged over the scans in which the region is annotated, then over regions.

    Call it with ``y_pred`` and ``y``, batches (B, K, D, H, W) or lists of (K, D, H, W): ``y_pred`` is binary; ``y`` is
    binary, with NaN in ignored voxels, which count for nothing, and in the whole channel of a region that is unknown in
    that scan. It gives the Dice of each scan, (B, K), NaN where the region is unknown or its reference empty (as that
    of an absent region is). `monai.handlers.IgniteMetricHandler` takes it as ``metric_fn``. MONAI's `DiceMetric` with
    ``reduction="mean_batch"`` would give a region that no scan annotates 0.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None or y_pred.shape != y.shape:
            raise ValueError(
                f"prediction {tuple(y_pred.shape)} and reference must have one shape, one channel per region"
            )
        known, reference = known_voxels(convert_to_tensor(y))
        prediction = convert_to_tensor(y_pred).masked_fill(~known, 0)
        # compute_dice gives NaN where the sum of the reference is not above 0
        scores: torch.Tensor = compute_dice(prediction, reference, ignore_empty=True)
        return scores

    def per_region(self) -> torch.Tensor:
        """The mean Dice of each region (K,) over the scans of all processes; NaN for a region without any value.

        Raises:
            ValueError: no scan has been added.
        """
        scores = self.get_buffer()
        if scores is None:
            raise ValueError("no scan has been added: call the metric before asking for its mean")
        means: torch.Tensor = scores.nanmean(dim=0)
        return means

    def aggregate(self) -> torch.Tensor:
        """The mean of `per_region` over the regions that have a value: a scalar; NaN where none has.

        Raises:
            ValueError: no scan has been added.
        """
        return self.per_region().nanmean()


class FalsePositiveVolume(CumulativeIterationMetric):
    """The volume predicted where a region is absent, in ml, averaged over such scans, then over regions.

    Called as `RegionDice`. It gives a volume per scan and region, (B, K), NaN where the region is unknown or there;
    ignored voxels count for nothing.

    Args:
        spacing: of the voxels, three numbers in mm.
    """

    def __init__(self, spacing: Sequence[float]) -> None:
        super().__init__()
        self.voxel_ml = math.prod(spacing) / 1000

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        known, reference = known_voxels(convert_to_tensor(y))
        predicted = convert_to_tensor(y_pred).masked_fill(~known, 0).flatten(2).sum(2)
        is_absent = known.flatten(2).any(2) & ~reference.flatten(2).any(2)
        return (predicted * self.voxel_ml).masked_fill(~is_absent, torch.nan)

    def aggregate(self) -> torch.Tensor:
        """A scalar, NaN where no region is absent."""
        scores: torch.Tensor = self.get_buffer()
        return scores.nanmean(dim=0).nanmean()
