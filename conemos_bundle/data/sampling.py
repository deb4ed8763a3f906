"""Which (scan, region) pair comes next in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

RULES = ("inverse_size", "uniform", "proportional", "in_turn")


class Sample(NamedTuple):
    """One draw: a scan and a region annotated or absent in it (indices), and the seed of its augmentation."""

    scan: int
    region: int
    seed: int


def region_probabilities(sizes: Sequence[int], rule: str = "inverse_size") -> np.ndarray:
    """Probability of each region, from the numbers |D_k| of scans annotated for it.

    ``inverse_size``: p(k) ∝ 1 / |D_k|, the paper's (section 3.4), so that rare annotations are not drowned.
    ``uniform``: p(k) = 1 / K, what the authors' code does. ``proportional``: every (scan, region) pair alike.
    ``in_turn``: one region after the other, each equally often; `RegionSampler` sees to the order. Regions without any
    annotated scan get 0.

    Raises:
        ValueError: unknown rule, or no region has a scan.
    """
    if rule not in RULES:
        raise ValueError(f"sampling rule {rule!r}: use one of {', '.join(RULES)}")
    counts = np.asarray(sizes, dtype=float)
    power = {"inverse_size": -1.0, "uniform": 0.0, "proportional": 1.0, "in_turn": 0.0}[rule]
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** power, 0.0)
    if weights.sum() == 0:
        raise ValueError("no region is annotated in any scan")
    return weights / weights.sum()


class RegionSampler(Sampler[Sample]):
    """Draws a region k by a rule, then a scan uniformly in D_k (paper, section 3.4).

    D_k are the scans where k is annotated and there. Scans where it is absent are drawn as well, each as often as one
    of D_k, but together at most in half of the draws of k. They do not count in |D_k|: declaring absence must not make
    a region rarer, nor bury the few scans that show it under the many that do not. Without absent regions the draws
    are the same as ever.

    A draw depends on nothing but (seed, rank, epoch) and its place in the epoch: neither on the number of workers nor
    on what happened before. So training resumes exactly, and several processes draw without the bias that weighting
    inside each process's share of the pairs would bring.

    Args:
        annotated: for each scan, the indices of the regions that are annotated and there.
        num_regions: K.
        num_samples: draws per epoch.
        rule: see `region_probabilities`.
        seed: seed of the whole run.
        rank: this process among several.
        absent: for each scan, the indices of the regions known to be absent.
    """

    def __init__(
        self,
        annotated: Sequence[Sequence[int]],
        num_regions: int,
        num_samples: int,
        rule: str = "inverse_size",
        seed: int = 0,
        rank: int = 0,
        absent: Sequence[Sequence[int]] = (),
    ) -> None:
        self.scans = [[i for i, regions in enumerate(annotated) if k in regions] for k in range(num_regions)]
        self.absent = [[i for i, regions in enumerate(absent) if k in regions] for k in range(num_regions)]
        self.probabilities = region_probabilities([len(scans) for scans in self.scans], rule)
        self.rule = rule
        self.num_samples = num_samples
        self.seed = seed
        self.rank = rank
        self.epoch = 1

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose draws come next (from 1)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[Sample]:
        random = np.random.default_rng([self.seed, self.rank, self.epoch])
        annotated = np.flatnonzero(self.probabilities)
        for i in range(self.num_samples):
            if self.rule == "in_turn":
                region = int(annotated[i % len(annotated)])
            else:
                region = int(random.choice(len(self.scans), p=self.probabilities))
            scans, absent = self.scans[region], self.absent[region]
            if absent and random.random() < min(0.5, len(absent) / (len(absent) + len(scans))):
                scans = absent
            scan = scans[int(random.integers(len(scans)))]
            yield Sample(scan, region, int(random.integers(2**31)))
