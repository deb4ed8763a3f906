from __future__ import annotations

from pathlib import Path

import pytest
from conemos_bundle.commands import evaluate, train
from conemos_bundle.errors import UserError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlay": "paperr"}, "paperr: no such overlay"),
        ({"max_epoch": 1}, "--max_epoch: no such setting"),
        ({"train::traner::amp": True}, "--train::traner::amp: no such setting"),
        ({"dataset_dir": "/nowhere"}, "/nowhere"),
        ({"cache": "ram"}, "cache 'ram'"),
    ],
)
def test_bad_options_are_one_line(options: dict, words: str, tiny_dataset: Path, tmp_path: Path) -> None:
    settings = {"output_dir": str(tmp_path / "run"), "max_epochs": 1, "steps_per_epoch": 1, "num_workers": 0, **options}
    with pytest.raises(Exception) as error:  # noqa: PT011 (MONAI's parser wraps it)
        train(str(tiny_dataset / "datalist.json"), **settings)
    from conemos_bundle.errors import find_user_error

    user_error = find_user_error(error.value)
    assert user_error is not None
    assert words in str(user_error)
    assert not (tmp_path / "run").exists()


def test_evaluating_an_empty_split_or_a_missing_run_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises((UserError, RuntimeError), match="."):
        evaluate(str(tiny_dataset / "datalist.json"), run=str(tmp_path / "none"))
