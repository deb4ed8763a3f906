"""Names, paths and options of requests."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.checks import (
    IMAGES,
    checked_endpoint,
    checked_file_name,
    checked_image,
    checked_json,
    checked_name,
)
from conemos_bundle.hosts.label.options import known_options


@pytest.mark.parametrize("name", ["case_1", "Ünal 3 (T2)", "1.2.840.113619.2.55", "final", "a" * 250, "T2: sagittal"])
def test_names(name: str) -> None:
    assert checked_name("image", name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", ".hidden", "a\0", "a\nb", "a" * 251, 5,
    None, ["a"]],
)  # fmt: skip
def test_what_would_lead_elsewhere_is_no_name(name: Any) -> None:
    with pytest.raises(UserError, match="^image: .* is no name here$"):
        checked_name("image", name)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.NRRD", "a.b.nii", "x.seg.nrrd"])
def test_names_of_uploads(name: str) -> None:
    assert checked_file_name("file", name, IMAGES) == name


@pytest.mark.parametrize("name", ["x.py", "x", "x.nii.gz.exe", ".nii.gz", "../x.nii.gz", "x.nii.gz\0", "meta.info"])
def test_other_uploads_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="^file: "):
        checked_file_name("file", name, IMAGES)


def test_scans_lie_in_the_folders_of_the_server(tmp_path: Path) -> None:
    studies, other = tmp_path / "studies", tmp_path / "studies_of_others"
    for folder in (studies, other):
        (folder / "series").mkdir(parents=True)
        (folder / "x.nii.gz").touch()
    (tmp_path / "link").symlink_to(studies)
    (studies / "out").symlink_to(other / "x.nii.gz")
    (studies / "alias").symlink_to(studies / "x.nii.gz")
    for inside in ("x.nii.gz", "alias", "../studies/x.nii.gz", "series"):
        expected = studies / ("series" if inside == "series" else "x.nii.gz")
        for folder in (studies, tmp_path / "link"):
            assert checked_image(str(studies / inside), [folder]) == str(expected)
    for outside in ("out", "../studies_of_others/x.nii.gz", "", "..", "none.nii.gz", "x\0"):
        with pytest.raises(UserError, match="GET /datastore/ lists them"):
            checked_image(str(studies / outside), [studies])
    for wrong in ("", None, [str(studies / "x.nii.gz")], 5):
        with pytest.raises(UserError, match="give the name of one scan"):
            checked_image(wrong, [studies])


def test_what_the_server_notes_of_a_scan_is_its_own(label: types.SimpleNamespace) -> None:
    def update_image_info(image: str, info: str = "{}") -> str:
        return info

    call = checked_endpoint(update_image_info, NotFoundError)
    assert call("case", '{"note": 1}') == '{"note": 1}'
    for key in ("region_confidence", "strategy"):
        with pytest.raises(label.HTTPException, match="400: info: .* for the server itself"):
            call("case", info=json.dumps({key: 5}))


def test_json() -> None:
    assert checked_json("params", '{"a": 1}') == {"a": 1} and checked_json("params", "") == {}
    for text in ("[1]", "5", "null", "{", "[" * 10**5, b"\xff"):
        with pytest.raises(UserError, match="params: give a JSON object"):
            checked_json("params", text)


class NotFoundError(Exception):
    """As MONAI Label's, whose text is an attribute."""

    msg = "Image none not found"


def run_inference(model: str, image: str = "", params: str = "{}", label: Any = None, session_id: str = "") -> str:
    if image == "none":
        raise NotFoundError
    return f"{model} {image} {params}"


def test_endpoints_are_called_with_checked_arguments(label: types.SimpleNamespace) -> None:
    call = checked_endpoint(run_inference, NotFoundError)
    assert (
        call("tiny", "case", params='{"a": 1}', label=types.SimpleNamespace(filename="x.nrrd")) == 'tiny case {"a": 1}'
    )
    for wrong in (
        {"image": "../x"}, {"image": "x", "params": "[1]"}, {"label": types.SimpleNamespace(filename="x.py")},
        {"session_id": "../x"}, {"image": "none"},
    ):  # fmt: skip
        with pytest.raises(label.HTTPException) as refused:
            call("tiny", **wrong)
        assert refused.value.status_code == (404 if wrong == {"image": "none"} else 400)
        assert "\n" not in refused.value.detail


@pytest.mark.parametrize("wrong", ["uncompress", "run_sync"])
def test_what_is_not_done_here(wrong: str, label: types.SimpleNamespace) -> None:
    def run(uncompress: bool = False, run_sync: bool = False) -> str:
        return "done"

    call = checked_endpoint(run, NotFoundError)
    assert call() == "done"
    with pytest.raises(label.HTTPException, match=f"400: {wrong}: "):
        call(**{wrong: True})


def test_known_options_are_passed_on_and_the_rest_is_left_out() -> None:
    evil = "$__import__('os').system('x')"
    request = {
        "model": "tiny", "image": "case", "regions": evil, "region_x": False, "device": ["cpu"], "spacing": evil,
        "overlap": 0.9,
        "bundle_root": evil, "logging": "CRITICAL", "skip_writer": True, "label": "/etc/passwd",
        "result_compress": "true",
        "result_extension": ".seg.nrrd", "result_dtype": "uint16", "client_id": "x", "label_tag": None,
    }  # fmt: skip
    left_out = {"spacing", "overlap", "bundle_root", "logging", "skip_writer", "label", "client_id", "label_tag"}
    expected = {key: request[key] for key in request if key not in left_out} | {"result_compress": True}
    assert known_options("infer", request) == expected
    flags = {"save_label": "False", "result_compress": "TRUE", "multi_gpu": False, "label_tag": "liver"}
    assert known_options("batch_infer", flags) == {
        "save_label": False, "result_compress": True, "multi_gpu": False, "label_tag": "liver",
    }  # fmt: skip
    training = {
        "model": "tiny",
        "device": "cuda:1",
        "max_epochs": "3",
        "gpus": "0,1",
        "bundle_path": "/tmp",
        "local_rank": 0,
    }
    assert list(known_options("train", training)) == ["model", "device", "max_epochs", "gpus"]


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("infer", "result_extension", "/../../../x"), ("infer", "result_extension", ".py"), ("infer",
        "result_extension", 5),
        ("infer", "result_dtype", "object"), ("infer", "label_tag", "../x"),
        ("infer", "label_tag", "final"), ("batch_infer", "label_tag", "Final"),
        ("infer", "model", ["tiny"]),
        ("infer", "save_label", "perhaps"), ("train", "device", "$exit()"), ("train", "device", {"a": 1}), ("train",
        "device", []),
        ("train", "gpus", {"a": 1}), ("train", "gpus", "0;x"), ("train", "max_epochs", [1]), ("train", "max_epochs",
        "9" * 21),
        ("train", "pretrained", "maybe"), ("batch_infer", "images", ["../x"]), ("batch_infer", "images", 5),
        ("batch_infer", "max_workers", 10**9), ("batch_infer", "max_workers", -1), ("batch_infer", "max_batch_size",
        "x"),
        ("scoring", "max_scans", {}),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(kind: str, option: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"^{option}: "):
        known_options(kind, {option: value})
