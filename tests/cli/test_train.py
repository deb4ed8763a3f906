from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.cli import evaluate, train
from conemos_bundle.errors import UsageError, UserError, find_user_error
from conemos_bundle.files import LOCK, one_writer
from conemos_bundle.training import workflows
from conemos_bundle.training.workflows import hold_folder, run_training_config


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlay": "paperr"}, "paperr: no such overlay"),
        ({"overlay": "add_region"}, "add_region: no such overlay"),
        ({"max_epoch": 1}, "--max_epoch: no such setting"),
        (
            {"plan::plan::spacingg": [3, 3, 3]},
            "--plan::plan::spacingg: conemos_bundle.data.plan_input has no argument 'spacingg' (did you mean --",
        ),
        ({"train::trainer::val_handler": []}, "--train::trainer::val_handler: SupervisedTrainer has no argument"),
        ({"train::traner::amp": True}, "--train::traner::amp: no such setting"),
        ({"dataset_dir": "/nowhere"}, "/nowhere"),
        ({"cache": "ram"}, "cache 'ram'"),
        (
            {"regions": ["inner core", "outer"]},
            "--regions: training takes the regions and their order from the datalist",
        ),
        ({"train::dataset::regions": ["outer"]}, "--train::dataset::regions: training takes the regions"),
        ({"region": ["outer"]}, "--region: no such setting in train.json"),
    ],
)
def test_bad_options_are_one_line(options: dict, words: str, tiny_dataset: Path, tmp_path: Path) -> None:
    settings = {"output_dir": str(tmp_path / "run"), "max_epochs": 1, "steps_per_epoch": 1, "num_workers": 0, **options}
    with pytest.raises(Exception) as error:  # noqa: PT011 (MONAI's parser wraps it)
        train(str(tiny_dataset / "datalist.json"), **settings)
    user_error = find_user_error(error.value)
    assert user_error is not None
    assert words in str(user_error) and "did you mean --regions" not in str(user_error)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("o.json", '{"max_epochs": 3,}', "not valid JSON (line 1: "),
        ("o.json", "[1, 2]", "holds no settings by name"),
        ("o.yaml", "max_epochs: 3", "settings are read from JSON files"),
        ("o.json", '{"regions": ["inner core", "outer"]}', "training takes the regions and their order from"),
    ],
)
def test_bad_overlays_are_one_line(name: str, content: str, words: str, tiny_dataset: Path, tmp_path: Path) -> None:
    overlay = tmp_path / name
    overlay.write_text(content)
    settings = {"output_dir": str(tmp_path / "run"), "max_epochs": 1, "steps_per_epoch": 1, "channels": [2, 4]}
    with pytest.raises(Exception, match=".") as error:
        train(str(tiny_dataset / "datalist.json"), overlay=str(overlay), **settings)
    assert words in str(find_user_error(error.value))
    assert not (tmp_path / "run").exists()


def test_a_second_writer_is_refused_at_once(tiny_dataset: Path, run: Path, tmp_path: Path) -> None:
    data, line = str(tiny_dataset / "datalist.json"), "another process is writing there; wait for it to end"
    with one_writer(tmp_path), pytest.raises(Exception, match=".") as error:
        train(data, output_dir=str(tmp_path), dataset_dir=str(tiny_dataset))
    assert str(find_user_error(error.value)).startswith(f"{tmp_path}: {line}")
    with one_writer(tmp_path), pytest.raises(Exception, match=".") as error:
        evaluate(data, str(run), evaluation_dir=str(tmp_path), dataset_dir=str(tiny_dataset))
    assert str(find_user_error(error.value)).startswith(f"{tmp_path}: {line}")
    assert [file.name for file in tmp_path.iterdir()] == [LOCK]
    with one_writer(tmp_path):  # the refused ones have let go of it
        pass


def test_the_lock_of_a_workflow_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Workflow:
        def __init__(self, **_: Any) -> None:
            self.parser = type("Parser", (dict,), {"config": {}})()

        def initialize(self) -> None:
            hold_folder(tmp_path)
            with pytest.raises(UserError):
                one_writer(tmp_path).__enter__()

        run = finalize = lambda self: None

    monkeypatch.setattr(workflows, "ConfigWorkflow", Workflow)
    run_training_config([], {})
    with one_writer(tmp_path):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ckpt_path": "w.pt"}, "--run and --ckpt_path: each says which weights; give one of them"),
        ({"output_dir": "other"}, "--run and --output_dir: each says"),
        ({"run": None, "output_dir": "other", "ckpt_path": "w.pt"}, "--ckpt_path and --output_dir: each says"),
        *(({name: [1, 1, 1]}, f"--{name}: is a setting of training") for name in ("spacing", "channels", "max_epochs")),
    ],
)
def test_what_an_evaluation_would_not_read_is_refused(
    options: dict[str, Any], words: str, tiny_dataset: Path, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        evaluate(str(tiny_dataset / "datalist.json"), **{"run": str(run), "evaluation_dir": str(tmp_path), **options})
    assert not any(tmp_path.iterdir())


def test_evaluating_an_empty_split_or_a_missing_run_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises((UserError, RuntimeError), match="."):
        evaluate(str(tiny_dataset / "datalist.json"), run=str(tmp_path / "none"))
