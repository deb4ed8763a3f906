"""Which regions a request asks for, and what is refused."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.requests import (
    checked_format,
    number,
    refuse,
    region_options,
    reject_bad_values,
    requested_regions,
)

REGIONS = ["uterus", "Body", "brain stem"]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, REGIONS),
        ({"regions": ""}, REGIONS),
        ({"regions": []}, REGIONS),
        ({"regions": "brain stem"}, ["brain stem"]),
        ({"regions": " brain stem , body"}, ["brain stem", "Body"]),
        ({"regions": ["Body", "uterus"], "region_Body": False}, ["Body", "uterus"]),
        ({"region_uterus": False}, ["Body", "brain stem"]),
        ({"region_uterus": "False", "region_Body": "true", "region_brain stem": False}, ["Body"]),
    ],
)
def test_names_win_over_check_boxes(request_: dict[str, Any], expected: list[str]) -> None:
    assert requested_regions(request_, REGIONS) == expected


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"regions": "femur"}, "region 'femur' is unknown; this model knows: uterus, Body, brain stem"),
        ({"regions": ["uterus", "femur"]}, "'femur' is unknown"),
        ({"regions": "uterus,uterus"}, "asked for twice"),
        ({"regions": "$__import__('os').system('touch hacked')"}, "is unknown"),
        ({"regions": ["@network", "%x.json::y"]}, "is unknown"),
        ({"regions": {"uterus": True}}, "give names"),
        ({"regions": [1]}, "give names"),
        ({"region_uterus": "$1"}, "region_uterus: use true or false"),
        ({f"region_{region}": False for region in REGIONS}, "tick at least one of: uterus, Body, brain stem"),
    ],
)
def test_anything_else_is_refused_and_told_what_there_is(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("$", r"\$").replace("(", r"\(").replace(")", r"\)")):
        requested_regions(request_, REGIONS)


def test_options_are_shown_to_clients_and_never_copied_into_the_configuration() -> None:
    options = region_options(REGIONS)
    shown: dict[str, Any] = {"device": ["cpu"]}
    shown.update(options)  # as MONAI Label does where it starts
    assert shown == {"device": ["cpu"], "regions": "", **{f"region_{region}": True for region in REGIONS}}
    assert not any(key.startswith("image_") for key in shown)  # MONAI 1.6 would take it for meta data
    request = {"regions": "$print(1)"}
    assert {option: request[option] for option in options.keys()} == {}  # noqa: SIM118 - as MONAI Label does then


@pytest.mark.parametrize(("value", "expected"), [("seg.nrrd", "seg.nrrd"), (["labelmap", "seg.nrrd"], "labelmap")])
def test_an_untouched_format_is_the_first(value: Any, expected: str) -> None:
    assert checked_format(value) == expected


@pytest.mark.parametrize("value", ["png", [], None, "$1", {"a": 1}])
def test_another_format_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match="output_format: use one of labelmap, seg.nrrd"):
        checked_format(value)


@pytest.mark.parametrize("request_", [{}, {"device": ["cpu"]}, {"device": "cuda:1"}, {"model_filename": "model.pt"}])
def test_known_devices_and_files_pass(request_: dict[str, Any]) -> None:
    reject_bad_values(request_, ["cpu"], ["model.pt"])


@pytest.mark.parametrize(
    "request_",
    [{"device": "$exit()"}, {"device": "tpu"}, {"model_filename": "../../secret.pt"}, {"model_filename": ["other.pt"]}],
)
def test_other_devices_and_files_are_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="use one of"):
        reject_bad_values(request_, ["cpu"], ["model.pt"])


def test_an_unknown_region_is_answered_with_400(monkeypatch: pytest.MonkeyPatch) -> None:
    class HTTPException(Exception):  # noqa: N818 - its name in fastapi
        def __init__(self, status_code: int, detail: str) -> None:
            self.status_code, self.detail = status_code, detail

    monkeypatch.setitem(sys.modules, "fastapi", types.SimpleNamespace(HTTPException=HTTPException))
    with pytest.raises(UserError) as unknown:
        requested_regions({"image": "scan.nii.gz", "regions": "femur"}, REGIONS)
    with pytest.raises(HTTPException) as refused:
        refuse(unknown.value)
    assert refused.value.status_code == 400
    assert refused.value.detail == "region 'femur' is unknown; this model knows: uterus, Body, brain stem"


@pytest.mark.parametrize(("value", "expected"), [(3, 3), ("0.5", 0.5), (None, 2)])
def test_numbers(value: Any, expected: float) -> None:
    assert number({} if value is None else {"epochs": value}, "epochs", 2, 0, 10) == expected


@pytest.mark.parametrize("value", ["$1", "ten", 11, -1, "nan", None, [1], "inf"])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match="epochs: give a number from 0 to 10"):
        number({"epochs": value}, "epochs", 2, 0, 10)
