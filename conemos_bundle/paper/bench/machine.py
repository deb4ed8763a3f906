"""The machine that is measured on, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping

import torch
from conemos_bundle.paper.bench.groups import synchronized
from conemos_bundle.paper.bench.setup import Setup
from conemos_bundle.runs.run import machine
from conemos_bundle.utils.version import __version__

CALLS, SECONDS = 5, 4.0


def product_rate(device: str, dtype: str, side: int) -> float:
    """Multiplications per second in the product of two square matrices; the best of a few.

    float32 on a GPU is in TF32 where its convolutions are.
    """
    a, b = (torch.rand(side, side, device=device).to(getattr(torch, dtype)) for _ in range(2))
    product = synchronized(lambda: a @ b, device)
    matmul = torch.backends.cuda.matmul
    allowed, matmul.allow_tf32 = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        product()
        best, begun, calls = float("inf"), time.perf_counter(), 0
        while calls < CALLS and (calls == 0 or time.perf_counter() - begun < SECONDS):
            started = time.perf_counter()
            product()
            best, calls = min(best, time.perf_counter() - started), calls + 1
    finally:
        matmul.allow_tf32 = allowed
    return side**3 / best


def product_rates(setup: Setup) -> dict[str, float]:
    """`product_rate` of each dtype asked for."""
    return {dtype: product_rate(setup.device, dtype, 1024 if setup.quick else 2048) for dtype in setup.dtypes}


def machine_line(setup: Setup, rates: Mapping[str, float]) -> str:
    """Machine, versions and rates in a sentence each."""
    told = " and ".join(f"{rate / 1e9:.0f} G multiplications per second in {dtype}" for dtype, rate in rates.items())
    versions = f"PyTorch {torch.__version__}, Python {platform.python_version()}, conemos {__version__}"
    return f"{machine(setup.device)}; {versions}. A product of matrices takes {told}."
