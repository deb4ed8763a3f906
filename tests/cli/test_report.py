from __future__ import annotations

from pathlib import Path
from runpy import run_path

import numpy as np
import pandas as pd
import pytest
from conemos_bundle.cli import report
from conemos_bundle.errors import UserError

write_run = run_path(str(Path(__file__).parents[1] / "paper" / "conftest.py"))["write_run"]
DICE = {"body": np.linspace(0.8, 0.95, 7), "eyes": np.linspace(0.5, 0.7, 7)}


def test_one_data_set_is_written_into_the_folder_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs" / "a", DICE)
    write_run(tmp_path / "runs" / "b", DICE, method="DoDNet")
    report(str(tmp_path / "runs"), output=str(tmp_path / "new" / "report"))
    written = f"{tmp_path}/new/report/report.md"
    page = f"{tmp_path}/new/report/report.html"
    assert capsys.readouterr().out == f"wrote {written}\nnext: open {page}\n" and Path(page).is_file()
    assert not (tmp_path / "new" / "report" / "inference.csv").exists()  # nothing is measured unasked


def test_several_data_sets_have_a_folder_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs" / "a", DICE, dataset="fetal MR/3 mm")
    write_run(tmp_path / "runs" / "b", {"liver": [0.9, 0.8]}, dataset="chaos")
    write_run(tmp_path / "runs" / "c", DICE, dataset="without ours", method="DoDNet")
    write_run(tmp_path / "runs" / "d", DICE, dataset="without ours", fraction=0.5)
    report(str(tmp_path / "runs"), output=str(tmp_path / "out"))
    assert sorted(file.parent.name for file in tmp_path.glob("out/*/report.md")) == ["chaos", "fetal_MR_3_mm"]
    assert "liver" in (tmp_path / "out" / "chaos" / "report.md").read_text()
    assert "without ours: skipped, no run of CoNeMOS on all training scans" in capsys.readouterr().out


def test_measuring_leaves_a_table_that_later_reports_find(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", DICE)
    write_run(tmp_path / "runs" / "b", DICE, method="PSL loss")
    report(str(tmp_path / "runs"), output=str(tmp_path / "out"), measure=True, size=8, rounds=2)
    table = pd.read_csv(tmp_path / "out" / "inference.csv")
    assert table["method"].tolist() == ["PSL loss", "CoNeMOS"] and set(table["size"]) == {"8 x 8 x 8"}
    before = (tmp_path / "out" / "report.md").read_bytes()
    report(str(tmp_path / "runs"), output=str(tmp_path / "out"))
    assert (tmp_path / "out" / "report.md").read_bytes() == before


def test_steps_reach_the_search(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", DICE)
    write_run(tmp_path / "runs" / "b", DICE, epochs=5)
    report(str(tmp_path / "runs"), output=str(tmp_path / "out"), steps=50)
    assert "50 steps of batch 2" in (tmp_path / "out" / "report.md").read_text()


def test_what_cannot_be_reported(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", DICE, method="DoDNet")
    with pytest.raises(UserError, match="no run of CoNeMOS to compare the others with"):
        report(str(tmp_path / "runs"), output=str(tmp_path / "out"))
    write_run(tmp_path / "runs" / "b", DICE)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: cannot make this folder .* choose another --output"):
        report(str(tmp_path / "runs"), output=str(tmp_path / "file"))
    write_run(tmp_path / "runs" / "c", DICE, dataset="a b")
    write_run(tmp_path / "runs" / "d", DICE, dataset="a_b")
    with pytest.raises(UserError, match="the same folder"):
        report(str(tmp_path / "runs"), output=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
