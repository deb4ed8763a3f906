from __future__ import annotations

from collections.abc import Callable

import pytest
from conemos_bundle.data.datalist import Scan
from conemos_bundle.importers.split import split_by_subject


def scans_of(subjects: int, regions: Callable[[int], list[str]]) -> list[Scan]:
    return [
        Scan(image=f"s{number}_{index}.nii", subject=f"s{number}", masks=dict.fromkeys(regions(number), "m.nii"))
        for number in range(subjects)
        for index in range(2)
    ]


FRACTIONS = {"training": 0.6, "validation": 0.15, "test": 0.25}


@pytest.mark.parametrize("seed", range(5))
def test_a_split_keeps_subjects_together_and_spreads_every_region(seed: int) -> None:
    scans = scans_of(100, lambda number: ["common"] if number % 5 else ["rare", "common"])
    splits = split_by_subject(scans, FRACTIONS, seed)
    subjects = {split: {scan.subject for scan in its} for split, its in splits.items()}
    assert {split: len(its) for split, its in subjects.items()} == {"training": 60, "validation": 15, "test": 25}
    assert sum(len(its) for its in splits.values()) == len(scans)
    assert len(set().union(*subjects.values())) == 100
    rare = {split: sum("rare" in scan.masks for scan in its) / 2 for split, its in splits.items()}
    for split, fraction in FRACTIONS.items():  # 20 subjects, dealt one after the other
        assert abs(rare[split] - 20 * fraction) <= 1


def test_a_split_depends_on_the_seed_and_not_on_the_order() -> None:
    scans = scans_of(40, lambda number: ["a"])
    first = split_by_subject(scans, FRACTIONS, 0)
    again = split_by_subject(scans[::-1], FRACTIONS, 0)
    other = split_by_subject(scans, FRACTIONS, 1)
    assert {split: {scan.subject for scan in its} for split, its in first.items()} == {
        split: {scan.subject for scan in its} for split, its in again.items()
    }
    assert first != other


def test_a_subject_without_annotations_trains() -> None:
    splits = split_by_subject(scans_of(40, lambda number: ["a"] if number < 20 else []), FRACTIONS, 0)
    assert all(scan.masks for scan in splits["validation"] + splits["test"])
    assert {scan.subject for scan in splits["training"]} >= {f"s{number}" for number in range(20, 40)}


def test_a_part_of_zero_stays_empty() -> None:
    splits = split_by_subject(scans_of(7, lambda number: ["a"]), {"training": 1.0, "validation": 0, "test": 0}, 0)
    assert {split: len(its) for split, its in splits.items()} == {"training": 14, "validation": 0, "test": 0}


@pytest.mark.parametrize("seed", range(20))
def test_every_region_trains(seed: int) -> None:
    scans = scans_of(11, lambda number: ["aa"] if number < 9 else ["b"])
    splits = split_by_subject(scans, FRACTIONS, seed)
    of_b = {split: {scan.subject for scan in its if "b" in scan.masks} for split, its in splits.items()}
    assert {split: len(its) for split, its in of_b.items()} == {"training": 1, "validation": 0, "test": 1}
    assert sum(map(len, splits.values())) == len(scans)
