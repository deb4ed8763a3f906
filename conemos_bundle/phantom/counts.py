"""How many scans and mothers a data set of phantoms has, and in which scans each region is annotated."""

from __future__ import annotations

import numpy as np
from conemos_bundle.names import SPLITS
from conemos_bundle.phantom.anatomy import REGIONS

# Table 1 of the paper: scans, and the annotated ones of each region; its 289 scans are of 91 mothers
SCANS = {"training": 174, "validation": 42, "test": 73}
ANNOTATED = {
    "training": {"uterus": 12, "body": 12, "brain": 76, "eyes": 69, "placenta": 106},
    "validation": {"uterus": 3, "body": 3, "brain": 18, "eyes": 16, "placenta": 26},
    "test": {"uterus": 5, "body": 5, "brain": 32, "eyes": 29, "placenta": 44},
}
MOTHERS = 91

SMALL_SCANS = {"training": 40, "validation": 6, "test": 10}
SMALL_SHARE = {"uterus": 0.2, "body": 0.2, "brain": 0.45, "eyes": 0.425, "placenta": 0.6}  # of the scans
SMALL_FEWEST = {"training": 1, "validation": 2}  # annotated scans per region
SMALL_MOST = 3  # scans of one mother


def annotated_numbers(scans: int, split: str, complete: bool = False) -> dict[str, int]:
    """In how many of ``scans`` scans of ``split`` each region is annotated: Table 1's fraction, at least 1, or all."""
    fraction = {region: number / SCANS[split] for region, number in ANNOTATED[split].items()}
    return {region: scans if complete else min(scans, max(1, round(fraction[region] * scans))) for region in REGIONS}


def small_annotated_numbers(scans: int, split: str) -> dict[str, int]:
    """As `annotated_numbers` for the small phantom: its own fractions, and complete test scans."""
    if split == "test":
        return dict.fromkeys(REGIONS, scans)
    return {region: min(scans, max(SMALL_FEWEST[split], round(SMALL_SHARE[region] * scans))) for region in REGIONS}


def choose_annotated(scans: int, numbers: dict[str, int], rng: np.random.Generator) -> list[list[str]]:
    """Choose which regions are annotated in each of ``scans`` scans.

    Each region gets its number of scans; every scan gets a region where there are enough of them to go round.
    """
    annotations = rng.permutation([region for region, number in numbers.items() for _ in range(number)]).tolist()
    chosen = [{region} for region in annotations[:scans]]
    chosen += [set() for _ in range(scans - len(chosen))]
    for region in REGIONS:
        without = [index for index in range(scans) if region not in chosen[index]]
        missing = numbers[region] - (scans - len(without))
        for index in rng.permutation(without)[:missing]:
            chosen[index].add(region)
    return [[region for region in REGIONS if region in regions] for regions in chosen]


def mothers_of_splits(mothers: int, scans: dict[str, int]) -> dict[str, int]:
    """Share ``mothers`` out to the splits in proportion to their ``scans``: at least 1 where there are scans.

    Args:
        mothers: not fewer than there are splits with scans, and not more than there are scans.
        scans: number of scans of each split.
    """
    numbers = {split: int(scans[split] > 0) for split in SPLITS}
    for _ in range(mothers - sum(numbers.values())):
        neediest = max((split for split in SPLITS if scans[split]), key=lambda split: scans[split] / numbers[split])
        numbers[neediest] += 1
    return numbers


def scans_of_mothers(scans: int, mothers: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Number of the mother and number of the scan among hers, for ``scans`` scans: each mother has 1 or more."""
    if not mothers:
        return []
    numbers = 1 + rng.multinomial(scans - mothers, np.full(mothers, 1 / mothers))
    return [(mother, scan) for mother, number in enumerate(numbers) for scan in range(number)]
