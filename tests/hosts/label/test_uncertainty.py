"""The Dice that a network expects of itself, and the pair to annotate next."""

from __future__ import annotations

import pytest
import torch
from conemos_bundle.hosts.label.uncertainty import least_confident, soft_dice_confidence


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        ([1.0, 1.0, 0.0], 1.0),  # sure
        ([0.6, 0.0, 0.0], 2 * 0.6 / (0.6 + 1)),
        ([0.9, 0.4, 0.0], 2 * 0.9 / (0.9 + 0.4 + 1)),
        ([0.4, 0.4, 0.5], 0.0),  # nothing found
    ],
)
def test_soft_dice_confidence(probability: list[float], expected: float) -> None:
    assert soft_dice_confidence(torch.tensor(probability)) == pytest.approx(expected)
    # the size of the region does not matter
    assert soft_dice_confidence(torch.tensor(probability * 100)) == pytest.approx(expected, rel=1e-5)


CONFIDENCES = {"a": {"outer": 0.9, "inner": 0.3}, "b": {"outer": 0.5, "inner": 0.4}}


@pytest.mark.parametrize(
    ("annotated", "served", "expected"),
    [
        ({}, {}, ("a", "inner")),
        ({"a": ["inner"]}, {}, ("b", "inner")),  # a scan that is annotated for some regions may come again
        ({"a": {"inner", "outer"}, "b": {"inner"}}, {}, ("b", "outer")),
        ({}, {"a": {"inner": 9000.0}}, ("b", "inner")),  # somebody is at it
        ({}, {"a": {"inner": 1000.0}}, ("a", "inner")),  # and has given up
        (
            {"b": ["outer", "inner"]},
            {"a": {"inner": 9000.0, "outer": 8000.0}},
            ("a", "outer"),
        ),  # all served: the oldest
        ({"a": ["outer", "inner"], "b": ["outer", "inner"]}, {}, None),
    ],
)
def test_least_confident(annotated: dict, served: dict, expected: tuple[str, str] | None) -> None:
    assert least_confident(CONFIDENCES, annotated, served, now=10000.0) == expected
