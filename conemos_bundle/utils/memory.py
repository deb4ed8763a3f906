"""The memory that a process frees: kept for what it allocates next."""

from __future__ import annotations

import ctypes
import sys

import torch

# of glibc's malloc.h; the values are ints
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _MOST = -1, -3, 2**31 - 1


def keep_freed_memory(device: str | torch.device = "cpu") -> bool:
    """Let this process keep the memory of tensors that it frees, where the C library is glibc and the device the CPU.

    glibc gives blocks of more than 32 MB back to the system as soon as they are free, and the system clears each page
    of the next one: more than a quarter of a training step. The peak grows by up to a fifth, and the process never
    shrinks below it: this is for processes that end with their work, not for servers.

    Args:
        device: where the tensors are; on a GPU PyTorch keeps them itself.

    Returns:
        whether it does so now.
    """
    if torch.device(device).type != "cpu" or sys.platform != "linux":
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")  # glibc's name; musl has another
        return all(libc.mallopt(option, _MOST) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
    except (OSError, AttributeError):
        return False
