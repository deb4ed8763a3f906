from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import typer
from conemos_bundle import cli
from conemos_bundle.cli.arguments import names_of, pairs_of, values_of
from conemos_bundle.cli.commands import read_words, typer_command
from conemos_bundle.errors import UsageError

LIKE_NUMBERS = ["2024_01_05", "1e3", "[1]", "None", "True", "001", "0x10", "1.0", "{1}", "(1, 2)", "'a'", "a#b"]


def given(command: Callable[..., Any], *words: str) -> dict[str, Any]:
    """What a command's function gets from the command line."""
    seen: dict[str, Any] = {}
    signature = inspect.signature(command)

    def stand_in(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        seen.update(bound.arguments)

    stand_in.__signature__ = signature  # type: ignore[attr-defined]
    stand_in.__doc__ = command.__doc__
    read = read_words(stand_in, words, "command")
    app = typer.Typer()
    app.command()(typer_command(stand_in, read.settings))
    app(read.for_typer, standalone_mode=False)()
    return seen


@pytest.mark.parametrize("name", LIKE_NUMBERS)
def test_paths_and_names_stay_what_they_look_like(name: str) -> None:
    assert given(cli.predict, name, "b", "--output", name, f"--model={name}") == {
        "scans": (name, "b"), "regions": None, "output": name, "model": name, "output_format": "files",
        "mode": "window", "device": None, "engine": "torch", "resume": True, "probabilities": False,
            "report": False,
    }  # fmt: skip
    checked = given(cli.check, name, "--dataset_dir", name)
    assert checked["datalist"] == checked["dataset_dir"] == name
    listed = given(cli.datalist, name, "--output", name, "--name", name, "--csv", name, "--subject", name)
    assert [listed[key] for key in ("source", "output", "name", "csv", "subject")] == [name] * 5
    trained = given(cli.train, name, "--output_dir", name, "--train::dataset::cache_dir", name, "--spacing", "[1, 2]")
    assert trained["datalist"] == trained["options"]["output_dir"] == name
    assert trained["options"]["train::dataset::cache_dir"] == name
    assert trained["options"]["spacing"] == [1, 2]
    assert given(cli.pack, name, name, "--version", "0.10")["version"] == "0.10"


def test_one_dash_and_hyphens_will_do() -> None:
    words = ("d.json", "-dataset_dir", "2024_01_05", "-output_dir=1e3", "-max_epochs", "3")
    assert given(cli.train, "--dataset-dir", "a", "d.json")["options"] == {"dataset_dir": "a"}
    assert given(cli.train, *words)["options"] == {"dataset_dir": "2024_01_05", "output_dir": "1e3", "max_epochs": 3}


def test_numbers_lists_and_switches_are_still_read() -> None:
    seen = given(cli.datalist, "d", "--seed", "3", "--validation", "1e-1", "--regions", "{liver: [1, 2], 'b c': 3}")
    assert (seen["seed"], seen["validation"], seen["regions"]) == (3, 0.1, {"liver": [1, 2], "b c": 3})
    assert given(cli.label_app, "app", "--region_bundles")["region_bundles"] is True
    seen = given(
        cli.train, "d", "--max_epochs", "2", "--channels", "[4,8]", "--overlay", "paper,inside", "--resume", "False"
    )
    assert seen["options"] == {"max_epochs": 2, "channels": [4, 8], "resume": False}
    assert seen["overlay"] == ["paper", "inside"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b", ["a", "b"]),
        ("['a', 'b c']", ["a", "b c"]),
        ("(1e3)", ["1e3"]),
        ("[2024_01_05,True, null]", ["2024_01_05", "True", "null"]),
        ("1", ["1"]),
        ("", []),
    ],
)
def test_lists_of_names(text: str, names: list[str]) -> None:
    assert names_of(text) == names


def test_keys_of_dictionaries_are_names() -> None:
    assert values_of("{1: [2], 1e3: 3, True: 4, 'a b': [5, 6], 2024_01_05: 7}") == {
        "1": [2], "1e3": 3, "True": 4, "a b": [5, 6], "2024_01_05": 7,
    }  # fmt: skip
    assert values_of("a,1") == ["a", "1"]
    assert pairs_of("{1: 2024_01, 'a b': c}") == {"1": "2024_01", "a b": "c"}
    assert pairs_of("1=2024_01, a b=c") == pairs_of("[1=2024_01,'a b'='c']") == {"1": "2024_01", "a b": "c"}


@pytest.mark.parametrize("text", ["spleen", "spleen=", "=lien", "a=b=c", "a=b,c", "[1, 2]", "{"])
def test_what_is_no_pair_of_names_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--rename '.*' is no pair of names; write a=b, or a=b,c=d$"):
        given(cli.merge, "run", "--rename", text)


@pytest.mark.parametrize(
    ("option", "text", "reason"),
    [
        ("regions", "{'kidney': 2, kidney: 3}", "'kidney' stands twice"),
        ("regions", "{'a,b': 1}", "'a,b' is not one name"),
        ("regions", "{**a}", "'' is not one name"),
        ("inside", "{a: b, 'a': c}", "'a' stands twice"),
        ("inside", "a=b,a=c", "'a' stands twice"),
    ],
)
def test_keys_that_would_be_lost_are_refused(option: str, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=rf"^--{option} .*: {reason}; write"):
        given(cli.datalist, "d", f"--{option}", text)


@pytest.mark.parametrize("words", [["scan", "--output"], ["scan", "--output", "--model", "m"]])
def test_an_option_without_its_text_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"^--output: needs a value$"):
        given(cli.predict, *words)


def test_a_data_set_whose_names_are_all_like_numbers(tmp_path: Path) -> None:
    """`conemos datalist` and `conemos check` as a user calls them; regions 1, 1e3 and null."""
    random = np.random.default_rng(0)
    for kind in ("images", "masks/1", "masks/1e3", "masks/null"):
        (tmp_path / "2024_01_05" / kind).mkdir(parents=True)
        for scan in ("001", "1e3", "None"):
            voxels = random.random((6, 6, 6)).astype(np.float32) if kind == "images" else np.ones((6, 6, 6), np.uint8)
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "2024_01_05" / kind / f"{scan}.nii.gz")
    conemos = [sys.executable, "-m", "conemos_bundle"]
    words = [
        "datalist",
        "2024_01_05",
        "--output",
        "1e3",
        "--regions",
        "[1,1e3,null]",
        "--inside",
        "{1e3: 1}",
        "--test",
        "0",
    ]
    done = subprocess.run([*conemos, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    data = json.loads((tmp_path / "1e3").read_text())
    assert data["regions"] == ["1", "1e3", "null"]
    assert data["inside"] == {"1e3": "1"}
    assert data["name"] == "2024_01_05"
    scans = data["training"] + data["validation"]
    assert sorted(scan["subject"] for scan in scans) == ["001", "1e3", "None"]
    assert "wrote" in done.stdout
