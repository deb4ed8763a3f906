"""A convolution of an up-sampled volume, computed without up-sampling it."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def upsampled_conv(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``F.conv3d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, padding=1)``, borders included.

    Up-sampled voxels are equal in pairs, so the 27 products of an output voxel are with 8 different ones: it is a
    transposed convolution of stride 2, whose 4×4×4 kernel sums the weights that meet the same voxel. 8 multiplications
    per output voxel and weight instead of 27, and no up-sampled volume in memory.

    Args:
        x: ``(B, C, D, H, W)``.
        weight: of a 3×3×3 convolution, ``(O, C, 3, 3, 3)``.

    Returns:
        ``(B, O, 2 D, 2 H, 2 W)``.

    Example::

        >>> upsampled_conv(torch.rand(1, 4, 3, 4, 5), torch.rand(2, 4, 3, 3, 3)).shape
        torch.Size([1, 2, 6, 8, 10])
    """
    for axis in (2, 3, 4):
        before, center, after = weight.unbind(axis)
        weight = torch.stack([after, center + after, before + center, before], axis)
    return F.conv_transpose3d(x, weight.transpose(0, 1), stride=2, padding=1)
