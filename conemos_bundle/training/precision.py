"""Whether mixed precision in bfloat16 is worth its name on a device."""

from __future__ import annotations

import torch


def fast_bfloat16(device: str | torch.device) -> bool:
    """Whether the device multiplies in bfloat16 itself.

    A CPU without AVX-512 emulates it: a training step then takes several times as long as in float32.

    Args:
        device: a CPU or GPU; other devices train in float32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and "AVX512" in torch.backends.cpu.get_cpu_capability()
