from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from conemos_bundle.phantom import REGIONS, counts

TABLE_1 = {  # of the paper, copied by hand: scans, uterus, body, brain, eyes, placenta
    "training": [174, 12, 12, 76, 69, 106],
    "validation": [42, 3, 3, 18, 16, 26],
    "test": [73, 5, 5, 32, 29, 44],
}


def numbers_of(annotated: list[list[str]]) -> list[int]:
    return [sum(region in regions for regions in annotated) for region in REGIONS]


@pytest.mark.parametrize("split", TABLE_1)
def test_table_1_exactly(split: str) -> None:
    scans, *numbers = TABLE_1[split]
    assert counts.SCANS[split] == scans
    wanted = counts.annotated_numbers(scans, split)
    annotated = counts.choose_annotated(scans, wanted, np.random.default_rng(0))
    assert len(annotated) == scans and numbers_of(annotated) == numbers
    assert all(annotated)  # a scan without annotation would be of no use


def test_other_numbers_in_proportion() -> None:
    assert list(counts.annotated_numbers(87, "training").values()) == [6, 6, 38, 34, 53]  # half of Table 1
    assert list(counts.annotated_numbers(1, "validation").values()) == [1] * 5  # none without annotation
    assert list(counts.annotated_numbers(0, "test").values()) == [0] * 5
    assert list(counts.annotated_numbers(73, "test", complete=True).values()) == [73] * 5


@pytest.mark.parametrize(
    ("scans", "split", "expected"),
    [
        (40, "training", [8, 8, 18, 17, 24]),
        (6, "validation", [2, 2, 3, 3, 4]),
        (2, "validation", [2, 2, 2, 2, 2]),
        (1, "training", [1, 1, 1, 1, 1]),
        (4, "training", [1, 1, 2, 2, 2]),
        (0, "training", [0, 0, 0, 0, 0]),
        (3, "test", [3, 3, 3, 3, 3]),
    ],
)
def test_choose_annotated_in_the_small_phantom(scans: int, split: str, expected: list[int]) -> None:
    for seed in range(20):
        numbers = counts.small_annotated_numbers(scans, split)
        annotated = counts.choose_annotated(scans, numbers, np.random.default_rng(seed))
        assert len(annotated) == scans
        assert numbers_of(annotated) == expected
        assert all(annotated)  # each scan has a region
        assert all(regions == [r for r in REGIONS if r in regions] for regions in annotated)  # once each, in order


def test_which_scans_are_annotated_is_random() -> None:
    numbers = counts.small_annotated_numbers(40, "training")
    first, second = (counts.choose_annotated(40, numbers, np.random.default_rng(seed)) for seed in (0, 1))
    assert first != second
    assert len({tuple(regions) for regions in first}) > 8  # many combinations


@pytest.mark.parametrize(
    ("mothers", "scans", "expected"),
    [
        (91, (174, 42, 73), (54, 14, 23)),  # 60, 15 and 25%
        (3, (100, 1, 1), (1, 1, 1)),
        (102, (100, 1, 1), (100, 1, 1)),
        (4, (8, 0, 8), (2, 0, 2)),
        (0, (0, 0, 0), (0, 0, 0)),
    ],
)
def test_mothers_of_splits(mothers: int, scans: tuple[int, ...], expected: tuple[int, ...]) -> None:
    shared = counts.mothers_of_splits(mothers, dict(zip(TABLE_1, scans, strict=True)))
    assert tuple(shared.values()) == expected and sum(shared.values()) == mothers


@pytest.mark.parametrize(("scans", "mothers"), [(174, 54), (5, 5), (7, 1), (0, 0)])
def test_scans_of_mothers(scans: int, mothers: int) -> None:
    for seed in range(5):
        places = counts.scans_of_mothers(scans, mothers, np.random.default_rng(seed))
        numbers = Counter(mother for mother, _ in places)
        assert len(places) == len(set(places)) == scans and set(numbers) == set(range(mothers))
        assert all((mother, 0) in places for mother in range(mothers))
        assert all(scan < numbers[mother] for mother, scan in places)
