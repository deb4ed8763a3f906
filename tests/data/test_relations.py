from __future__ import annotations

import numpy as np
import pytest
from conemos_bundle.data.relations import describe, relations, shared_voxels

AB = ["a", "b"]


def scan(**regions: object) -> np.ndarray:
    """The shared voxels of one scan whose regions are given as sets of voxel indices."""
    voxels = {name: np.asarray(sorted(indices), dtype=np.int64) for name, indices in regions.items()}  # type: ignore[call-overload]
    return shared_voxels(voxels, AB)


def test_shared_voxels_are_the_intersections_that_sets_give() -> None:
    generator = np.random.default_rng(0)
    regions = [f"r{index}" for index in range(6)]
    masks = {region: generator.random((5, 6, 7)) < generator.random() for region in regions if region != "r3"}
    masks["r5"][:] = False  # annotated, but empty
    shared = shared_voxels({region: np.flatnonzero(mask) for region, mask in masks.items()}, regions)
    for i, a in enumerate(regions):
        for j, b in enumerate(regions):
            if "r3" in (a, b):
                assert np.isnan(shared[i, j])
            else:
                sets = [set(map(tuple, np.argwhere(masks[region]))) for region in (a, b)]
                assert shared[i, j] == len(sets[0] & sets[1])


def test_a_scan_without_annotations_shares_nothing_known() -> None:
    assert np.isnan(shared_voxels({}, AB)).all()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (range(1000), range(200), "contains"),
        (range(200), range(1000), "inside"),
        (range(200), range(200), "contains"),  # equal: the first listed is the outer one
        (range(0, 100), range(100, 200), "excludes"),
        (range(0, 100), range(50, 150), "overlaps"),
        (range(5, 1005), range(1000), "contains"),  # exactly 0.5% of b lies outside a
        (range(6, 1006), range(1000), "overlaps"),
        (range(0, 1000), range(995, 5000), "excludes"),  # exactly 0.5% of the smaller one is shared
        (range(0, 1000), range(994, 5000), "overlaps"),
    ],
)
def test_relation_of_two_sets(a: range, b: range, expected: str) -> None:
    assert relations([scan(a=a, b=b)], AB) == [("a", expected, "b", 1)]


def test_scans_that_differ_overlap() -> None:
    inside, apart = scan(a=range(9), b=range(3)), scan(a=range(3), b=range(3, 6))
    assert relations([inside, apart], AB) == [("a", "overlaps", "b", 2)]


def test_only_scans_that_annotate_both_tell() -> None:
    shared = [scan(a=range(9), b=range(3)), scan(a=range(9)), scan(b=range(3)), scan(a=range(9), b=()), scan()]
    assert relations(shared, AB) == [("a", "contains", "b", 1)]
    assert relations(shared[1:], AB) == []
    assert relations([], AB) == []


def test_describe_groups_pairs_and_names_the_unknown_ones() -> None:
    found = [("a", "contains", "b", 3), ("a", "contains", "c", 2), ("b", "inside", "c", 1)]
    assert describe(found, ["a", "b", "c", "d"]) == [
        "a contains b (3), c (2)",
        "a and d: unknown: never annotated together",
        "b is inside c (1)",
        "b and d: unknown: never annotated together",
        "c and d: unknown: never annotated together",
    ]
