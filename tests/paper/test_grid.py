from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.paper.grid import PlannedRun, expand, read_grid


def write(folder: Path, runs: list[dict[str, Any]], **changed: Any) -> Path:
    for name in ("a", "b"):
        (folder / f"{name}.json").write_text("{}")
        (folder / name).mkdir(exist_ok=True)
    datasets = {
        "a": {"datalist": "a.json", "dataset_dir": "a", "settings": {"sampling_rule": "uniform"}},
        "b": {"datalist": "b.json", "dataset_dir": "b"},
    }
    grid = {"datasets": datasets, "settings": {"max_epochs": 3}, "runs": runs, **changed}
    (folder / "grid.json").write_text(json.dumps(grid))
    return folder / "grid.json"


def runs_of(folder: Path, *runs: dict[str, Any]) -> dict[str, PlannedRun]:
    return {run.folder: run for run in expand(read_grid(write(folder, list(runs))))}


def test_every_combination_once(tmp_path: Path) -> None:
    found = runs_of(
        tmp_path,
        {"methods": ["conemos", "psl_loss"], "seeds": [0, 1]},
        {"datasets": ["a"], "methods": ["conemos"], "fractions": [1.0, 0.25]},
    )
    names = [f"{data}/{method}/seed{seed}" for data in "ab" for method in ("conemos", "psl_loss") for seed in (0, 1)]
    assert sorted(found) == sorted([*names, "a/conemos/seed0_fraction0.25"])


def test_conditioned_layers_are_conemoss_alone(tmp_path: Path) -> None:
    found = runs_of(tmp_path, {"datasets": ["b"], "methods": ["conemos", "dodnet"], "conditioned": [None, 1]})
    assert list(found) == ["b/conemos/seed0", "b/conemos/seed0_conditioned1", "b/dodnet/seed0"]
    assert found["b/conemos/seed0_conditioned1"].settings["n_conditioned"] == 1
    assert "n_conditioned" not in found["b/conemos/seed0"].settings


def test_the_commands_of_a_run(tmp_path: Path) -> None:
    run = runs_of(tmp_path, {"datasets": ["a"], "methods": ["dodnet"], "seeds": [2], "fractions": [0.5]})[
        "a/dodnet/seed2_fraction0.5"
    ]
    data = [str(tmp_path / "a.json"), "--dataset_dir", str(tmp_path / "a")]
    expected = [*data, "--output_dir", "/out/a/dodnet/seed2_fraction0.5", "--overlay", "dodnet", "--max_epochs=3"]
    assert run.training("/out") == [*expected, "--sampling_rule=uniform", "--seed=2", "--fraction=0.5"]
    assert run.evaluation("/out") == [*data, "--run", "/out/a/dodnet/seed2_fraction0.5"]


def test_pseudo_labeling_starts_from_the_individual_networks_of_the_grid(tmp_path: Path) -> None:
    both = {"datasets": ["a"], "methods": ["pseudo_label", "individual"], "seeds": [0, 1]}
    found = runs_of(tmp_path, both)
    run = found["a/pseudo_label/seed1"]
    assert run.teacher == "a/individual/seed1"
    assert run.training("/out")[-1] == "--teacher_dir=/out/a/individual/seed1"
    assert found["a/individual/seed1"].teacher is None
    alone = runs_of(tmp_path, {"datasets": ["a"], "methods": ["pseudo_label"]})["a/pseudo_label/seed0"]
    assert alone.teacher is None
    assert not any("teacher_dir" in word for word in alone.training("/out"))


def test_a_disk_cache_lies_in_the_output_folder(tmp_path: Path) -> None:
    grid = read_grid(write(tmp_path, [{"datasets": ["a"]}], settings={"cache": "disk"}))
    assert expand(grid)[0].training("/out")[-1] == "--cache_dir=/out/cache"


def test_close_shares_are_two_runs(tmp_path: Path) -> None:
    assert len(runs_of(tmp_path, {"datasets": ["a"], "fractions": [0.1234567, 0.1234568, 0.9999999, 1.0]})) == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"runs": [{"methods": ["unknown"]}]}, "runs.0.methods.0: 'unknown': no such method; use conemos, dodnet"),
        ({"runs": [{"datasets": ["c"]}]}, "data set 'c' is none of a, b"),
        ({"runs": [{"seed": [0]}]}, "runs.0.seed: Extra inputs are not permitted"),
        ({"datasets": {"a": {"datalist": "none.json", "dataset_dir": "a"}}}, "none.json: no such file"),
        ({"datasets": {"a": {"datalist": "a.json", "dataset_dir": "none"}}}, "none: no such folder"),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_grid(write(tmp_path, **{"runs": [{}], **changed}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_grid(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.json: cannot read the grid"):
        read_grid(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(UserError, match=r"text.json: not valid JSON \(line 1"):
        read_grid(tmp_path / "text.json")
