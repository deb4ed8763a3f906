from __future__ import annotations

import pytest
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.data.suggest import advise_on_sides, suggest_method

OWN, PSL = ("--scales", "own"), ("--overlay", "psl_loss")


def datalist(*annotated: list[str], regions: tuple[str, ...] = ("a", "b", "c")) -> Datalist:
    """Training scans with masks of these regions; of a test scan with all of them nothing may be learned."""
    scans = [
        {"image": f"{i}.nii", "subject": str(i), "masks": {region: f"{region}{i}.nii" for region in masks}}
        for i, masks in enumerate([*annotated, list(regions)])
    ]
    return Datalist.model_validate({"regions": list(regions), "training": scans[:-1], "test": scans[-1:]})


@pytest.mark.parametrize(
    ("masks", "volumes", "words", "reason"),
    [
        ([["a", "b", "c"]] * 3, {"a": [5000.0], "b": [50.0], "c": [10.0]}, OWN, "'a' is 500 times as large as 'c'"),
        ([["a"], ["b"]], {"a": [1.0], "b": [900.0, 20.0, 2000.0]}, OWN, "'b' is 900 times as large as 'a'"),  # median
        ([["a", "b", "c"]] * 3, {"a": [5000.0], "b": [50.0], "c": [10.1]}, PSL, "3.0 masks per scan"),
        ([["a"], ["a", "b", "c"], []], {"a": [2.0], "b": [1.0]}, PSL, "2.0 masks per scan"),
        ([["a"], ["a", "b"], ["c"]], {"a": [2.0], "b": [1.0]}, (), "1.3 masks per scan"),
        ([["a"]], {}, (), "1.0 masks per scan"),
    ],
)
def test_the_rules(masks: list[list[str]], volumes: dict, words: tuple[str, ...], reason: str) -> None:
    suggestion = suggest_method(datalist(*masks), volumes)
    assert suggestion.words == words
    assert suggestion.reason.startswith(reason)
    assert suggestion.method == ("PSL loss" if words == PSL else "CoNeMOS")
    assert str(suggestion).startswith(
        f"{suggestion.method} ({'train ' + ' '.join(words) if words else 'the default'}): "
    )


def test_one_region_and_absent_ones() -> None:
    assert suggest_method(datalist(["a"], regions=("a",)), {"a": [1.0, 100.0]}).words == ()
    data = datalist(["a"], ["b"])
    data.training[0].masks["b"] = data.training[0].masks["c"] = (
        data.training[0].source("a").model_copy(update={"absent": True})
    )
    assert suggest_method(data, {"a": [1.0], "b": [1.0]}).reason.startswith("1.0 masks")


def test_sides() -> None:
    assert advise_on_sides(["liver"]) == ""
    assert advise_on_sides(["left eye", "right eye"]).startswith("'left eye', 'right eye' name a side")
