from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.training.overrides import (
    _as_fire_reads,
    reject_no_counts,
    reject_no_vectors,
    reject_unknown_overrides,
)

PROGRAM = "/somewhere/monai/bundle/__main__.py"


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "a.json").write_text(
        json.dumps(
            {
                "regions": None,
                "train": {"x": 1, "transforms": [{"_target_": "RandFlip"}, "@other"]},
                "validate": {"handlers": [0]},
                "bundle_root": ".",
            }
        )
    )
    (tmp_path / "b.json").write_text(json.dumps({"+validate::handlers": [1]}))
    return f"['{tmp_path / 'a.json'}','{tmp_path / 'b.json'}']"


def test_known_settings_pass(config: str) -> None:
    words = [
        "--config_file",
        config,
        "--regions",
        "['a']",
        "--train::x=2",
        "--validate#handlers",
        "[]",
        "--bundle_root",
        ".",
    ]
    words += ["--train::transforms::0::prob", "1", "--train#transforms#1#prob", "1"]  # a new argument; a reference
    reject_unknown_overrides([PROGRAM, "run", "training", *words, "--run_id", "run"])
    with pytest.raises(UserError, match=r"--bundle_roots: no such setting"):
        reject_unknown_overrides([PROGRAM, "run", "--config_file", config, "--bundle_roots", "."])


def test_a_misspelled_setting_is_refused(config: str) -> None:
    with pytest.raises(UserError, match="RandFlip has no argument 'probb' .did you mean --train::transforms::0::prob"):
        reject_unknown_overrides([PROGRAM, "run", f"--config_file={config}", "--train::transforms::0::probb", "1"])
    for words in (
        ["--region", "['a']"],
        ["--region=['a']"],
        ["--trian::x", "1"],
        ["--train::trasforms::0::prob", "1"],
        ["--train::transforms::2::prob", "1"],
        ["--train::x::y", "1"],
        ["--train::y", "1"],
        ["--train::transforms::9", "1"],
    ):
        with pytest.raises(UserError, match="no such setting"):
            reject_unknown_overrides([PROGRAM, "run", f"--config_file={config}", *words])


@pytest.mark.parametrize("config_file", ["--config_file {}", "--config-file {}", "-config_file {}", "-config-file={}"])
def test_options_are_read_as_fire_reads_them(config_file: str, config: str) -> None:
    start = [PROGRAM, "run", *config_file.format(config).split(" ")]
    for word in ("--regoins", "-regoins", "--re-goins", "-regoins=1", "--noregoins"):
        with pytest.raises(UserError, match=r"--(re_goins|regoins): no such setting"):
            reject_unknown_overrides([*start, word])
    reject_unknown_overrides([*start, "-regions", "--bundle-root", ".", "--noregions", "-validate::handlers=[]"])
    assert _as_fire_reads(["--a-b", "-1", "-c", "--nod", "--e=f=g"]) == {
        "a_b": "-1", "c": "True", "d": "False", "e": "f=g",
    }  # fmt: skip
    with pytest.raises(UserError, match="--bundle_root 2024_01_05: would be read"):
        reject_unknown_overrides([*start, "--bundle-root", "2024_01_05"])


def test_other_programs_are_left_alone(config: str) -> None:
    reject_unknown_overrides(["/usr/bin/pytest", "run", "--config_file", config, "--region", "a"])
    reject_unknown_overrides([PROGRAM, "ckpt_export", "--config_file", config, "--region", "a"])


@pytest.mark.parametrize("text", ["2024_01_05", "1e3", "[1]", "True", "0x10", "['a',3]"])
@pytest.mark.parametrize("option", ["--dataset_dir", "--output_dir", "--train::cache_dir", "--ckpt_path"])
def test_a_path_that_monai_would_read_as_a_number_is_refused(option: str, text: str, tmp_path: Path) -> None:
    name = option[2:].split("::")[-1]
    (tmp_path / "c.json").write_text(json.dumps({name: None, "train": {name: None}}))
    start = [PROGRAM, "run", "--config_file", str(tmp_path / "c.json")]
    for words in ([option, text], [f"{option}={text}"]):
        with pytest.raises(UserError, match=r"would be read as .*, not as a path; write --"):
            reject_unknown_overrides([*start, *words])
    for fine in ("./2024_01_05", "2024-01-05", "None", "['a','b']", "a.nii.gz"):
        reject_unknown_overrides([*start, option, fine])


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2", None, 10.0])
def test_counts_are_whole_numbers_of_at_least_one(value: Any) -> None:
    reject_no_counts(max_epochs=1, batch_size=2)
    with pytest.raises(UserError, match=f"--max_epochs {value}: give a whole number of at least 1"):
        reject_no_counts(max_epochs=value)


@pytest.mark.parametrize("minutes", [0, -1, "ten", True, float("nan"), float("inf")])
def test_a_time_that_is_none(minutes: object) -> None:
    reject_no_counts(max_epochs=1, minutes=0.5)
    with pytest.raises(UserError, match=f"--minutes {minutes}: give a number above 0"):
        reject_no_counts(max_epochs=1, minutes=minutes)


GOOD = {"spacing": [1, 1.5, 2], "patch_size": [64, 64, 32], "flip_probability": [0.5, 0, 1], "seed": 0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spacing", 2), ("spacing", [2, 2]), ("spacing", [0, 0, 0]), ("spacing", ["1", 1, 1]), ("patch_size", 64),
        ("patch_size", [64, 64, 0]), ("patch_size", [1.5, 2, 2]), ("flip_probability", 0.5),
        ("flip_probability", [0.5, 0.5, 2]), ("flip_probability", None), ("seed", -1), ("seed", 1.5), ("seed", None),
    ],
)  # fmt: skip
def test_what_are_not_three_numbers_is_refused(name: str, value: Any) -> None:
    reject_no_vectors(**GOOD)
    reject_no_vectors(**{**GOOD, "spacing": None, "patch_size": None})
    with pytest.raises(UserError, match=f"^--{name} "):
        reject_no_vectors(**{**GOOD, name: value})
