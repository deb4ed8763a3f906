from __future__ import annotations

import logging

import pytest
from conemos_bundle.data.sides import name_some, warn_of_flips, with_side

KIDNEYS = ["liver", "left kidney", "right kidney"]


@pytest.mark.parametrize(
    "name", ["left kidney", "kidney_right", "Left-Hippocampus", "LeftLung", "lung.RIGHT", "LEFT_EYE", "atrium left 2"]
)
def test_a_name_that_says_left_or_right(name: str) -> None:
    assert with_side(["liver", name]) == [name]


@pytest.mark.parametrize(
    "names", [["bright spot"], ["cleft"], ["vertebra L 1"], ["eye_l"], ["leftover"], ["upright", "L"]]
)
def test_a_name_that_says_neither(names: list[str]) -> None:
    assert with_side(names) == []


@pytest.mark.parametrize("pair", [["eye_l", "eye_r"], ["lh.cortex", "rh.cortex"], ["L lung", "R lung"], ["Rt", "Lt"]])
def test_letters_are_sides_where_both_are_there(pair: list[str]) -> None:
    assert with_side([*pair, "vertebra L"]) == pair


def test_a_warning_names_some_of_them_and_what_to_type(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_flips(KIDNEYS, [0.5, 0.25, 0.0])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "('left kidney', 'right kidney')" in record.getMessage()
    assert record.getMessage().endswith("use --flip_probability [0, 0.25, 0]")
    assert name_some([f"left {i}" for i in range(6)]) == "'left 0', 'left 1', 'left 2', 'left 3' and 2 more"


@pytest.mark.parametrize(("regions", "flips"), [(KIDNEYS, [0, 0.5, 0.5]), (["liver"], [0.5] * 3), (KIDNEYS, ())])
def test_flips_along_other_axes_and_regions_without_a_side_are_in_order(
    regions: list[str], flips: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_flips(regions, flips)
    assert not caplog.records
