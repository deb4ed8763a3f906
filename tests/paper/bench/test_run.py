from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conemos_bundle import cli
from conemos_bundle.errors import UserError
from conemos_bundle.files import one_writer
from conemos_bundle.paper.bench import machine, memory, run
from conemos_bundle.paper.bench.groups import Group, Result
from conemos_bundle.paper.bench.plot import time_of_regions
from conemos_bundle.paper.bench.setup import QUICK, Setup
from PIL import Image

SETUP = Setup(size=32, channels=(2, 3, 4), dtypes=("float32", "bfloat16"), rounds=2, quick=True)


def _inference(dtype: str, regions: int, seconds: float) -> Result:
    values = {"CoNeMOS": [seconds, 2 * seconds], "MONAI DynUNet": [1.0, 1.0], "PSL loss": [1.0, 1.0]}
    group = Group("inference", f"Inference of {regions}, {dtype}", {}, ("MONAI DynUNet",), dtype, regions)
    return Result(group, values, dict.fromkeys(values, 10**9), {})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results without measuring."""

    def groups(setup: Setup) -> Any:
        for dtype in setup.dtypes:
            yield Group("inference", dtype, {}, (), dtype, 5)

    monkeypatch.setattr(run, "_TIMED", dict.fromkeys(run._TIMED, groups))
    monkeypatch.setattr(run, "measure", lambda group, *_: _inference(group.dtype, 5, 3)._replace())
    monkeypatch.setattr(run, "product_rates", lambda setup: dict.fromkeys(setup.dtypes, 2e9))
    peak = Result(Group("memory", "Peak memory: x", {}), {"CoNeMOS": [10.0]}, {}, {}, "MiB")
    monkeypatch.setattr(run, "memory_results", lambda setup: iter([peak]))


@pytest.mark.usefixtures("measured")
def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run.run_bench(tmp_path / "out", SETUP, ["inference", "memory"])
    assert {file.name for file in (tmp_path / "out").iterdir()} == {".lock", "bench.md", "bench.csv", "bench.png"}
    text = (tmp_path / "out" / "bench.md").read_text(encoding="utf-8")
    assert re.findall("^## (.*)", text, re.MULTILINE) == ["Inference", "Peak memory"]
    assert "| CoNeMOS | 4500 | 3750 to 5250 | 4.50 | 1.00 | 11% |" in text
    assert "](bench.png)" in text and "32³ voxels, features 2, 3, 4" in text and "Quick:" in text
    assert "2 G multiplications per second in float32 and 2 G multiplications per second in bfloat16" in text
    assert len(pd.read_csv(tmp_path / "out" / "bench.csv")) == 2 * 3 * 2 + 1
    assert Image.open(tmp_path / "out" / "bench.png").size[0] > 800
    assert capsys.readouterr().out.count("measured: ") == 3


@pytest.mark.usefixtures("measured")
def test_no_plot_without_numbers_of_regions(tmp_path: Path) -> None:
    run.run_bench(tmp_path, SETUP, ["memory"])
    assert not (tmp_path / "bench.png").exists()
    assert "bench.png" not in (tmp_path / "bench.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("measured")
def test_one_writer_per_folder(tmp_path: Path) -> None:
    with one_writer(tmp_path), pytest.raises(UserError, match="another process is writing there"):
        run.run_bench(tmp_path, SETUP, ["memory"])


def test_the_plot_has_a_panel_per_dtype_and_medians() -> None:
    results = [_inference(dtype, n, n) for dtype in SETUP.dtypes for n in (1, 5, 20)]
    results.append(results[0]._replace(group=results[0].group._replace(regions=None)))
    figure = time_of_regions(results)
    assert [axes.get_title() for axes in figure.axes] == ["float32", "bfloat16"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["PSL loss", "CoNeMOS", "MONAI DynUNet"]
    line = figure.axes[1].containers[1].lines[0]
    assert line.get_xdata().tolist() == [1, 5, 20] and line.get_ydata().tolist() == [1.5, 7.5, 30]


def test_how_the_machine_is_told() -> None:
    line = machine.machine_line(SETUP, {"float32": 48.4e9})
    assert "cores" in line and torch.__version__ in line
    assert line.endswith("A product of matrices takes 48 G multiplications per second in float32.")
    assert machine.product_rate("cpu", "float32", 64) > 1e6


@pytest.mark.parametrize("part", ["memory", "startup"])
def test_all_parts_are_known(part: str) -> None:
    assert {*run._TIMED, "memory"} == set(run._TITLES) == set(run._HOW) == set(run.PARTS)
    assert part in run.PARTS


def test_memory_as_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"CoNeMOS": 2.0**21, "DoDNet": None}
    monkeypatch.setattr(memory, "peak_in_child", lambda setup, title, name: found.get(name, 2.0**20))
    step, inference = memory.memory_results(replace(SETUP, dtypes=("float32",)))
    assert step.group.title == "Peak memory: training step, batch 2, float32"
    assert inference.values["CoNeMOS"] == [2.0] and inference.values["PSL loss"] == [1.0]
    assert list(inference.left_out) == ["DoDNet"] and inference.unit == "MiB"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(run, "run_bench", lambda *given: asked.append(given))
    cli.bench(str(tmp_path / "b"), quick=True, rounds=1, dtype="both", only="memory,step", device="cpu")
    assert asked.pop() == (
        tmp_path / "b", replace(QUICK, rounds=1, dtypes=("float32", "bfloat16"), device="cpu"), ["step", "memory"],
    )  # fmt: skip
    assert "next: open" in capsys.readouterr().out
    cli.bench(channels=[8, 16, 32], size=48, device="cpu")
    assert asked.pop()[1] == Setup(size=48, channels=(8, 16, 32))
    with pytest.raises(UserError, match="--device nowhere: not available"):
        cli.bench(str(tmp_path / "b"), device="nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is not a folder"):
        cli.bench(str(tmp_path / "file"))
    assert not asked
