"""Padding of images to what a UNet's pooling needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def padding_for(image: torch.Tensor, factor: int, smallest: list[int]) -> list[int]:
    """Padding, as `torch.nn.functional.pad` takes it, at the end of each axis.

    Args:
        image: ``(B, C, D, H, W)``, of any size.
        factor: each side becomes a multiple of it.
        smallest: voxels that each axis has at least.
    """
    padding: list[int] = []
    for i in range(image.dim() - 1, 1, -1):
        size = image.shape[i]
        missing = (factor - size % factor) % factor
        missing = max(missing, smallest[i - 2] - size)
        padding += [0, missing]
    return padding


def crop(x: torch.Tensor, padding: list[int]) -> torch.Tensor:
    """Take the padding off again; x itself where there is none."""
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript compiles what an `and` joins)
        # F.pad copies also where there is nothing to do, at each decoding all K outputs of a UNet
        if not torch.compiler.is_compiling() and not torch.jit.is_tracing() and not any(padding):
            return x
    # a crop, as a padding: slices would fix in torch.export whether there is anything to crop
    return F.pad(x, [-p for p in padding])
