"""Scales of regions, as a plan has them and by index."""

from __future__ import annotations

from typing import Any

import pytest
from conemos_bundle.scales import RegionScale, check_scales, levels, region_scales, spacings, with_margin
from pydantic import ValidationError

REGIONS = ["uterus", "body", "brain", "eyes"]
PLANNED: dict[str, dict[str, Any]] = {
    "uterus": {"extent_mm": [280.0, 200.0, 150.0], "factor": [4, 4, 2], "patch_size": [8, 8, 8]},
    "body": {
        "extent_mm": [200.0, 100.0, 100.0],
        "factor": [2, 2, 1],
        "patch_size": [16, 8, 8],
        "within": "uterus",
        "found_at": [4, 4, 2],
    },
    "brain": {
        "extent_mm": [90.0, 70.0, 80.0],
        "factor": [1, 1, 1],
        "patch_size": [8, 24, 16],
        "within": "body",
        "found_at": [2, 2, 1],
    },
    "eyes": {"extent_mm": [50.0, 20.0, 20.0], "factor": [1, 1, 1], "patch_size": [16, 16, 24], "within": "brain"},
}


def test_each_factor_is_one_level_the_finest_first() -> None:
    assert levels(PLANNED) == [(1, 1, 1), (2, 2, 1), (4, 4, 2)]


def test_scales_by_index() -> None:
    scales = region_scales(PLANNED, REGIONS)
    assert scales is not None
    assert scales.factors == [(1, 1, 1), (2, 2, 1), (4, 4, 2)]
    assert scales.patch_sizes == [[16, 24, 24], [16, 8, 8], [8, 8, 8]]  # what holds all regions of a level
    assert scales.level == [2, 1, 0, 0]
    assert scales.found_at == [None, 2, 1, None]
    assert scales.within == {1: 0, 2: 1, 3: 2}
    assert scales.levels == [{2}, {1, 2}, {0, 1}, {0}]
    assert scales.extent_mm[3] == [50, 20, 20]


def test_at_a_level_of_finding_alone_patches_are_the_largest() -> None:
    found_coarsely = {**PLANNED["uterus"], "found_at": [8, 8, 4]}
    scales = region_scales({"uterus": found_coarsely, "eyes": {**PLANNED["eyes"], "within": None}}, ["uterus", "eyes"])
    assert scales is not None
    assert scales.patch_sizes == [[16, 16, 24], [8, 8, 8], [16, 16, 24]]


def test_without_scales_there_is_one_spacing() -> None:
    assert region_scales(None, REGIONS) is None
    assert region_scales({}, REGIONS) is None
    assert spacings({"spacing": [1, 2, 3]}) is None


def test_spacings_of_a_plan_are_those_of_its_levels() -> None:
    plan = {"spacing": [1.5, 1.5, 3.0], "scales": PLANNED}
    assert spacings(plan) == [[1.5, 1.5, 3.0], [3.0, 3.0, 3.0], [6.0, 6.0, 6.0]]


@pytest.mark.parametrize(
    ("region", "change", "message"),
    [
        ("brain", {"within": "head"}, "no region"),
        ("uterus", {"within": "eyes"}, "within itself"),
        ("eyes", {"within": "eyes"}, "within itself"),
    ],
)
def test_scales_that_cannot_be(region: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_scales({**PLANNED, region: {**PLANNED[region], **change}}, REGIONS)


def test_scales_of_other_regions() -> None:
    with pytest.raises(ValueError, match="other regions"):
        check_scales(PLANNED, REGIONS[:3])


@pytest.mark.parametrize(
    "change", [{"factor": [0, 1, 1]}, {"factor": [2, 2]}, {"found_at": [1, 1, 1]}, {"extent_mm": [0, 1, 1]}, {"x": 1}]
)
def test_a_scale_is_held_against_its_schema(change: dict[str, Any]) -> None:
    RegionScale.model_validate(PLANNED["body"])
    with pytest.raises(ValidationError):
        RegionScale.model_validate({**PLANNED["body"], **change})


def test_the_margin_is_a_fifth_of_each_side_and_two_voxels_at_least() -> None:
    assert with_margin([10, 10, 10], [30, 20, 11], [1, 4, 4]) == ([6, 2, 2], [34, 28, 19])
