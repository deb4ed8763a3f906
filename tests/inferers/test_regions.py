from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from conemos_bundle.errors import UsageError, UserError
from conemos_bundle.inferers import asked_regions, region_indices

NAMES = ["body", "brain", "left eye"]


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        (None, NAMES),
        ([], NAMES),
        ("", None),
        ("left eye", ["left eye"]),
        (["left eye", "body"], ["left eye", "body"]),
        (("brain",), ["brain"]),
    ],
)
def test_asked_regions(regions: str | Sequence[str] | None, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(UserError, match="region '' is unknown"):
            asked_regions(regions, NAMES)
    else:
        assert asked_regions(regions, NAMES) == expected


@pytest.mark.parametrize(
    ("region", "nearest"),
    [("brain ", " (did you mean brain?)"), ("Bra", " (did you mean brain?)"), ("uterus", ""), (1, "")],
)
def test_names_that_the_model_does_not_know(region: str, nearest: str) -> None:
    with pytest.raises(UsageError) as refused:
        asked_regions(["body", region], NAMES)
    assert str(refused.value) == f"region {region!r} is unknown{nearest}; this model knows: body, brain, left eye"


def test_names_in_upper_or_lower_case() -> None:
    assert asked_regions(["BRAIN", "Left Eye"], NAMES) == ["brain", "left eye"]
    with pytest.raises(UsageError, match="region 'brain' is asked for twice"):
        asked_regions(["brain", "Brain"], NAMES)


def test_text_is_never_evaluated(tmp_path: Path) -> None:
    mark = tmp_path / "evaluated"
    for region in (f"$__import__('os').mkdir('{mark}')", f"__import__('os').mkdir('{mark}')", "@network", "%x.json"):
        with pytest.raises(UserError, match="is unknown"):
            asked_regions(region, NAMES)
        with pytest.raises(UserError, match="is unknown"):
            asked_regions([region], NAMES)
    assert not mark.exists()


def test_a_region_asked_for_twice() -> None:
    with pytest.raises(UserError, match="region 'brain' is asked for twice"):
        asked_regions(["brain", "body", "brain"], NAMES)


def test_indices_in_the_order_asked_for() -> None:
    assert region_indices(["left eye", "body"], NAMES).tolist() == [2, 0]
    assert region_indices(NAMES, NAMES).tolist() == [0, 1, 2]


@pytest.mark.parametrize("region", [1, True, 1000.0])
def test_a_name_that_was_read_as_a_number_is_refused(region: object) -> None:
    with pytest.raises(UserError, match=r"is no text; write it as in --regions \"\['"):
        asked_regions(region, ["1", "True", "1000.0"])  # type: ignore[arg-type]
    assert asked_regions("1", ["1", "True"]) == ["1"]
