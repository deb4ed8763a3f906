"""What `conemos bench` was asked for; nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass

DTYPES = ("float32", "bfloat16")
PARTS = ("step", "inference", "memory", "startup", "growth", "augmentation")


@dataclass(frozen=True)
class Setup:
    """The sizes of a benchmark.

    ``size``: voxels per side of the images. ``channels``: features per level of every network. ``most_seconds``: what
    takes longer at once is left out. ``quick``: fewer numbers of regions, no processes that take seconds to start.
    """

    size: int = 64
    channels: tuple[int, ...] = (16, 32, 64, 128)
    dtypes: tuple[str, ...] = ("float32",)
    device: str = "cpu"
    rounds: int = 5
    most_seconds: float = 60.0
    quick: bool = False


QUICK = Setup(size=32, channels=(4, 8, 16), rounds=3, most_seconds=10.0, quick=True)
