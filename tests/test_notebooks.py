"""The notebooks of examples/ run, cell by cell, as they are but for a shorter training."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from conemos_bundle.cli.app import run

from tests.workflows import left_as_it_was

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SHORTER = {
    "--max_epochs 24 --steps_per_epoch 40": "--max_epochs 2 --steps_per_epoch 2",
    "--training 24": "--training 8",
}


def code_of(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run_command(line: str) -> None:
    for long, short in SHORTER.items():
        line = line.replace(long, short)
    line = line.replace("\\\n", " ")
    assert line.startswith("conemos ") and "\n" not in line
    with left_as_it_was():
        run(shlex.split(line)[1:])  # in this process: six more would import PyTorch and MONAI


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    names: dict[str, object] = {}
    for code in code_of(notebook):
        if code.startswith("!"):
            run_command(code.removeprefix("!"))
        else:
            exec(compile(code, notebook.name, "exec"), names)  # the repository's own
    plt.close("all")
    assert names["found"].volumes_ml  # type: ignore[attr-defined]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_was_run_and_ended_well(notebook: Path) -> None:
    cells = [c for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_there_are_two_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["segment_on_demand", "train_on_partial_annotations"]
