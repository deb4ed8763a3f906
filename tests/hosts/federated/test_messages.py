"""What leaves a site: arrays of the shapes that were agreed on, each written down, and nothing else."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.federated.messages import SENT, check_message, log_sent, numbers_of

SHAPES = {"a.weight": (2, 3), "b.bias": ()}


def trained() -> dict[str, Any]:
    return {
        "steps": np.array(5), "masks": np.array([3, 0]), "dice": np.array([0.5, np.nan]),
        "a.weight": np.ones((2, 3), np.float32), "b.bias": np.array(1.5, np.float32),
    }  # fmt: skip


def test_a_message_as_agreed_passes() -> None:
    assert check_message(trained(), "train", 2, SHAPES).keys() == trained().keys()
    assert check_message({"dice": np.array([1.0, 0.0])}, "evaluate", 2, SHAPES).keys() == {"dice"}


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("image", np.zeros((9, 9, 9)), "train: the message has 'image'"),
        ("a.weight", None, "train: the message lacks 'a.weight'"),
        ("a.weight", np.zeros((2, 4)), r"'a.weight' is no array of such numbers \(2, 3\)"),
        ("a.weight", np.zeros((2, 3)), "'a.weight' is no array of such numbers"),
        ("a.weight", np.zeros((2, 3), ">f4"), "'a.weight' is no array of such numbers"),
        ("a.weight", [[1, 2, 3], [4, 5, 6]], "'a.weight' is no array of such numbers"),
        ("a.weight", np.full((2, 3), np.inf, np.float32), "'a.weight' holds what is not finite"),
        ("steps", "5", "'steps' is no array of such numbers"),
        ("steps", np.array(5.0), "'steps' is no array of such numbers"),
        ("steps", np.array(10**12), "'steps' holds what is not finite, or not within 0 and 1e\\+06"),
        ("steps", np.array("Jane Doe"), "'steps' is no array of such numbers"),
        ("masks", np.array([3, -1]), "'masks' holds what is not finite, or not within"),
        ("masks", np.array([3, 1, 1]), r"'masks' is no array of such numbers \(2,\)"),
        ("dice", np.array([0.5, 1.5]), "'dice' holds what is not finite, or not within 0 and 1"),
        ("dice", np.array([-0.5, np.nan]), "'dice' holds what is not finite, or not within 0 and 1"),
    ],
)
def test_anything_else_is_refused_at_the_site_and_at_the_server(key: str, value: Any, line: str) -> None:
    message = {**trained(), key: value}
    if value is None:
        del message[key]
    with pytest.raises(UserError, match=line):
        check_message(message, "train", 2, SHAPES)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scans", np.array([10**9, 1])),
        ("annotated", np.array([[4, 0], [1, 1]])),  # of three scans
        ("extent", np.array([40.0, 1e30, 40.0])),
        ("spacing", np.array([1.0, 0.0, 1.0])),
        ("channels", np.array(0)),
    ],
)
def test_what_no_hospital_has_is_refused(key: str, value: Any) -> None:
    told = {
        "channels": np.array(1), "spacing": np.ones(3), "extent": np.full(3, 40.0), "scans": np.array([3, 1]),
        "annotated": np.ones((2, 2), int),
    }  # fmt: skip
    assert check_message(told, "describe", 2, {}).keys() == told.keys()
    with pytest.raises(UserError, match="describe: "):
        check_message({**told, key: value}, "describe", 2, {})


def test_weights_leave_with_no_other_task() -> None:
    with pytest.raises(UserError, match="evaluate: the message has 'a.weight'"):
        check_message({"dice": np.array([1.0, 0.0]), "a.weight": np.ones((2, 3))}, "evaluate", 2, SHAPES)
    assert not any("." in name for task in ("describe", "train", "evaluate") for name in numbers_of(task, 2))


def test_the_log_has_each_key_of_each_message(tmp_path: Path) -> None:
    log_sent(tmp_path, 0, "evaluate", {"dice": np.array([0.5, 0.25])})
    log_sent(tmp_path, 1, "train", check_message(trained(), "train", 2, SHAPES))
    rows = list(csv.DictReader((tmp_path / SENT).open()))
    assert rows[0] == {"round": "0", "task": "evaluate", "key": "dice", "shape": "2", "type": "float64", "bytes": "16"}
    assert {row["key"]: int(row["bytes"]) for row in rows[1:]} == {n: a.nbytes for n, a in trained().items()}
    assert {row["key"]: row["shape"] for row in rows[1:]}["a.weight"] == "2x3"
