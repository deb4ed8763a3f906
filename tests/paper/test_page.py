"""The HTML twin of a report: the same numbers and figures, in a file that keeps to itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conemos_bundle.paper import page as page_module
from conemos_bundle.paper.collect import find_runs
from conemos_bundle.paper.page import write_comparison_page
from conemos_bundle.paper.parts import Cell, Files, Picture, Section, Table
from conemos_bundle.paper.report import write_report
from conemos_bundle.reports.page import REPORT
from conemos_bundle.reports.pictures import embed
from PIL import Image

from tests.reports.reading import Page, read_page
from tests.reports.test_page import ATTACK

OURS = np.linspace(0.8, 0.95, 9)


def _words(text: str) -> str:
    return " ".join(text.split())


def _markdown_tables(text: str) -> list[list[list[str]]]:
    """The tables of a report in Markdown, as the texts that a reader sees."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    plain = [[re.sub(r"\*\*|\\", "", line[2:-2]) for line in block if "---" not in line] for block in blocks]
    return [[[cell.strip() for cell in line.split(" | ")] for line in block] for block in plain]


def _tables(page: Page) -> list[list[list[str]]]:
    return [[[_words(cell) for cell in row] for row in table] for table in page.tables]


def test_it_has_the_tables_and_figures_of_the_markdown(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    runs, folder = tmp_path / "runs", tmp_path / "report"
    write_run(runs / "ours", {"body": OURS, "eyes": OURS / 2}, slices=True)
    write_run(runs / "theirs", {"body": OURS - 0.1, "eyes": OURS / 3}, method="DoDNet", slices=True)
    write_run(runs / "fraction", {"body": OURS - 0.2, "eyes": OURS / 4}, fraction=0.25)
    folder.mkdir()
    text = write_report(find_runs(runs), folder).read_text()
    page = read_page(folder / REPORT)
    assert _tables(page) == _markdown_tables(text) and len(page.tables) == 5
    figures = [caption for caption, name in re.findall(r"!\[(.+)\]\((.+)\)", text) if (folder / name).is_file()]
    assert [its["alt"] for tag, its in page.tags if tag == "img"] == figures and len(figures) == 4
    shown = _words(page.text)
    assert "The paper's experiments on toy" in shown and "a machine, 2 cores" in shown
    for heading in re.findall(r"^## (.+)$", text, re.MULTILINE):
        assert heading in shown
    yes, no = (sum(row[-1] == word for row in page.tables[0]) for word in ("yes", "no"))
    assert f"{yes} of {yes + no}claims of the paper reproduced" in shown and yes and no
    assert "2methods compared 3runs 9test scans" in shown
    assert not re.search(r"\d{4}-\d\d-\d\d", shown)  # the same runs, the same bytes: no date


def test_names_of_others_are_texts(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "runs" / "ours", {"body": OURS}, dataset=ATTACK)
    write_run(tmp_path / "runs" / "theirs", {"body": OURS}, dataset=ATTACK, method=ATTACK)
    (tmp_path / "report").mkdir()
    write_report(find_runs(tmp_path / "runs"), tmp_path / "report")
    page = read_page(tmp_path / "report" / REPORT)
    assert page.text.count(ATTACK) >= 5 and [row[0] for row in page.tables[1][1:]] == [ATTACK, "CoNeMOS"]


def test_marks_of_cells_and_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MOST_ROWS", 2)
    Image.new("RGB", (30, 20)).save(tmp_path / "shown.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)).save(tmp_path / "large.png")
    monkeypatch.setattr(page_module, "embed", partial(embed, most_letters=5000))
    rows = [["a", Cell("1", is_bold=True)], ["b", Cell("2", has_star=True)], ["c", "3"]]
    parts = [Table(["m", "n"], rows), Picture("shown.png", "small"), Picture("large.png", "huge"), Files(["x.csv"])]
    write_comparison_page(tmp_path, "toy", {}, {"Budget": "40 steps"}, [Section("Head", parts)])
    page = read_page(tmp_path / REPORT)
    assert _tables(page) == [[["m", "n"], ["a", "1"], ["b", "2 *"]]]
    assert [tag for tag, _ in page.tags].count("b") == 1
    assert [its.get("class") for tag, its in page.tags if tag in ("th", "td")] == [None, "n", *["name", "n"] * 2]
    shown = _words(page.text)
    assert "The first 2 of 3 rows" in shown and "x.csv" in shown and "40 steps" in shown
    assert len(page.pictures) == 1 and "stays small: huge. It lies beside this file, large.png" in shown
