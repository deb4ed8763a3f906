"""The pair to annotate next."""

from __future__ import annotations

import pytest
from conemos_bundle.hosts.label.uncertainty import least_confident

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
