"""Which (scan, region) pair comes next in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from conemos_bundle.errors import UsageError
from conemos_bundle.scales import Scales
from torch.utils.data import Sampler

FOUND = 1 / 3  # of the draws of a region that is found first, coarsely, show it at that scale
RULES = ("inverse_size", "uniform", "proportional", "in_turn")


class Sample(NamedTuple):
    """One draw: a scan and a region annotated or absent in it (indices), the seed of its augmentation, its level."""

    scan: int
    region: int
    seed: int
    level: int = 0


def region_probabilities(sizes: Sequence[int], rule: str = "uniform") -> np.ndarray:
    """Probability of each region, from the numbers |D_k| of scans annotated for it.

    ``uniform``: p(k) = 1 / K, what the authors' code does. ``inverse_size``: p(k) ∝ 1 / |D_k|, the paper's (section
    3.4), so that rare annotations are not drowned; where a step learns every mask of the scans drawn they are not
    anyway, and the few scans of the rarest region would be most of what is seen. ``proportional``: every (scan, region)
    pair alike. ``in_turn``: one region after the other, each equally often; `RegionSampler` sees to the order. Regions
    without any annotated scan get 0.

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


def level_probabilities(scales: Scales) -> np.ndarray:
    """``(K, L)``: how often region k is drawn at each level: at its own, or, a third of it, at that of finding it."""
    chances = np.zeros((len(scales.level), len(scales.factors)))
    for region, (own, found_at) in enumerate(zip(scales.level, scales.found_at, strict=True)):
        chances[region, own] = 1.0 if found_at is None else 1 - FOUND
        if found_at is not None:
            chances[region, found_at] += FOUND
    return chances


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
        scales: of the regions. The draws of a batch are of one level then, whose patches have one size; each level has
            as many batches, and the rule says how often each of its regions is drawn.
        batch_size: draws per batch.

    Raises:
        UsageError: regions in turn cannot be of one level.
    """

    def __init__(
        self,
        annotated: Sequence[Sequence[int]],
        num_regions: int,
        num_samples: int,
        rule: str = "uniform",
        seed: int = 0,
        rank: int = 0,
        absent: Sequence[Sequence[int]] = (),
        scales: Scales | None = None,
        batch_size: int = 1,
    ) -> None:
        self.scans = [[i for i, regions in enumerate(annotated) if k in regions] for k in range(num_regions)]
        self.absent = [[i for i, regions in enumerate(absent) if k in regions] for k in range(num_regions)]
        self.probabilities = region_probabilities([len(scans) for scans in self.scans], rule)
        self.rule = rule
        self.num_samples = num_samples
        self.seed = seed
        self.rank = rank
        self.epoch = 1
        self.batch_size = batch_size
        # how often a region is drawn at each level
        self.of_levels = None if scales is None else self.probabilities[:, None] * level_probabilities(scales)
        if scales is not None and rule == "in_turn" and any(p != scales.patch_sizes[0] for p in scales.patch_sizes):
            raise UsageError(
                "--sampling_rule in_turn: patches of several sizes cannot be in one batch; pass --patch_size too"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose draws come next (from 1)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[Sample]:
        random = np.random.default_rng([self.seed, self.rank, self.epoch])
        annotated = np.flatnonzero(self.probabilities)
        level = 0
        for i in range(self.num_samples):
            if self.of_levels is not None and self.rule != "in_turn":
                if i % self.batch_size == 0:
                    level = int(random.choice(np.flatnonzero(self.of_levels.sum(0))))
                chances = self.of_levels[:, level]
                region = int(random.choice(len(chances), p=chances / chances.sum()))
            elif self.rule == "in_turn":
                region = int(annotated[i % len(annotated)])
            else:
                region = int(random.choice(len(self.scans), p=self.probabilities))
            scans, absent = self.scans[region], self.absent[region]
            if absent and random.random() < min(0.5, len(absent) / (len(absent) + len(scans))):
                scans = absent
            scan = scans[int(random.integers(len(scans)))]
            seed = int(random.integers(2**31))
            if self.of_levels is not None and self.rule == "in_turn":
                chances = self.of_levels[region]
                level = int(random.choice(len(chances), p=chances / chances.sum()))
            yield Sample(scan, region, seed, level)
