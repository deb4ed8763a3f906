"""The sampler and the data sets of a training, from its settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from conemos_bundle.data.region_dataset import RegionDataset
from conemos_bundle.data.sampling import RegionSampler
from monai.data import CacheDataset


def region_sampler(
    dataset: RegionDataset, steps: int, batch_size: int, rule: str = "uniform", seed: int = 0, rank: int = 0
) -> RegionSampler:
    """The sampler of a data set, which draws what an epoch takes.

    Args:
        dataset: the scans, and what is annotated in them.
        steps: per epoch.
        batch_size: draws per step, that of the data loader.
        rule: see `region_probabilities`.
        seed: of the run.
        rank: this process among several.
    """
    return RegionSampler(
        dataset.annotated, len(dataset.regions), steps * batch_size, rule, seed, rank, absent=dataset.absent,
        scales=dataset.scales, batch_size=batch_size,
    )  # fmt: skip


def scan_dataset(data: Sequence[Any], transform: Callable[..., Any], cache: str | None = "memory") -> CacheDataset:
    """Whole scans, to validate or evaluate on.

    Args:
        data: items as `scan_items` gives them.
        transform: their preparation.
        cache: ``"memory"`` keeps prepared scans; with any other value each is read anew every time.
    """
    rate = 1.0 if cache == "memory" else 0.0
    return CacheDataset(data, transform, cache_rate=rate, copy_cache=False, progress=sys.stderr.isatty())
