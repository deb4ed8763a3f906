"""What `conemos add-region` and `conemos merge` say; a wrong line is refused before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

import pytest
from conemos_bundle.cli import add_region, merge
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.errors import UserError

from tests.workflows import left_as_it_was

SETTINGS = {"max_epochs": 1, "steps_per_epoch": 1, "num_workers": 0, "bfloat16": False, "device": "cpu"}


def test_teach_and_merge(
    run: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = read_datalist(tiny_dataset / "datalist.json").model_dump(exclude_none=True)
    text = read_datalist(tiny_dataset / "datalist.json").model_validate({**data, "dataset_dir": str(tiny_dataset)})
    write_datalist(text, "few.json")
    Path("few.json").write_text(Path("few.json").read_text("utf-8").replace('"inner core"', '"k\u00e9rnel"'), "utf-8")
    with left_as_it_was():  # as a keyboard may write it: two letters, in files one
        add_region("few.json", str(run), "ke\u0301rnel", "grown", "film", **SETTINGS)  # type: ignore[arg-type]
    lines = capsys.readouterr().out.splitlines()
    assert "grown knows k\u00e9rnel too; its other regions are computed as before, to the bit" in lines
    assert "the region alone: grown/k\u00e9rnel.region.pt; 'conemos merge' joins such files with the model" in lines
    assert lines[-1] == "next: conemos predict SCAN --model grown --regions 'k\u00e9rnel'"
    merge(str(run), "grown/k\u00e9rnel.region.pt", output="merged", rename={"k\u00e9rnel": "nucleus"})
    lines = [line for line in capsys.readouterr().out.splitlines() if " - INFO - " not in line]  # the training logs
    assert lines == ["wrote merged", "next: conemos predict SCAN --model merged"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"datalist": "none.json"}, "none.json: no such file"),
        ({"model": "none"}, "none: no such folder"),
        ({"max_epoch": 1}, "--max_epoch: no such setting in train.json, add_region.json"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    given: dict[str, object], words: str, run: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    arguments = {"datalist": str(tiny_dataset / "datalist.json"), "model": str(run), "region": "kernel"}
    with pytest.raises(UserError) as error:
        add_region(**{**arguments, "output": str(tmp_path / "out"), **given})  # type: ignore[arg-type]
    assert str(error.value).startswith(words)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="x.region.pt: no such file"):
        merge(str(run), "x.region.pt")
