"""A 3×3×3 convolution that oneDNN computes on a CPU also where PyTorch would not ask it."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def conv3d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """``F.conv3d(x, weight, bias, padding=1)``.

    A single float32 volume of few rows (channels × D × H up to 20,480, the coarser levels of a UNet) is convolved by
    PyTorch's own loop, 2 to 7 times slower than by oneDNN, which has every other case (torch 2.13,
    ``ConvParams::use_mkldnn``). Asked for directly here: one window of the hippocampus model takes half the time.

    Args:
        x: ``(B, C, D, H, W)``.
        weight: ``(O, C, 3, 3, 3)``.
        bias: ``(O,)``.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript compiles what an `and` joins)
        if (
            x.shape[0] == 1
            and x.device.type == "cpu"
            and x.dtype == weight.dtype == torch.float32
            and not torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled("cpu")
            and torch.backends.mkldnn.is_available()
        ):
            return torch.mkldnn_convolution(x, weight, bias, (1, 1, 1), (1, 1, 1), (1, 1, 1), 1)
    return F.conv3d(x, weight, bias, padding=1)
