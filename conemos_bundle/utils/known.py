"""What is known of a region, voxel by voxel: inside, outside, or ignored (nobody knows).

While scans are loaded, resampled and augmented, masks are integers: 0 outside, 1 inside, `IGNORED`. So they can be
flipped, cut and sampled at the nearest voxel by any transform. Losses and metrics get one float tensor, the *target*,
NaN where nothing is known: at ignored voxels, and all over a region that is unknown in the scan. NaN spoils every sum
that forgets it, so nobody mistakes it for background. `known_voxels` is the only place that takes the two apart.
"""

from __future__ import annotations

import torch

IGNORED = 255


def to_target(masks: torch.Tensor) -> torch.Tensor:
    """Masks of 0, 1 and `IGNORED`, of any shape, as float32 with NaN where ignored."""
    masks = torch.as_tensor(masks).float()
    return masks.masked_fill(masks == IGNORED, torch.nan)


def known_voxels(target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which voxels of a target are known (bool), and the target with 0 in all others; both of the target's shape."""
    known = ~target.isnan()
    return known, target.nan_to_num()
