from __future__ import annotations

import os
from pathlib import Path

import pytest
from conemos_bundle.errors import OutputError, UsageError
from conemos_bundle.reports.page import reject_unwritable_report, write_page
from jinja2 import UndefinedError

from tests.reports.reading import read_page

ATTACK = "<script>alert(1)</script>"
EMPTY = {
    "name": "", "description": "", "problems": [], "n_errors": 0, "n_warnings": 0, "regions": [], "counts": {},
    "n_scans": 0, "known": [], "declared": {}, "relations": [], "scales": [], "most": 10,
}  # fmt: skip


def test_texts_are_escaped_and_shown_as_they_are(tmp_path: Path) -> None:
    page = read_page(write_page(tmp_path / "a.html", "checked", **{**EMPTY, "name": ATTACK, "description": '"><img>'}))
    assert f"Data set {ATTACK}" in page.text and '"><img>' in page.text
    assert page.pictures == []


def test_letters_that_turn_a_line_around_are_written_out(tmp_path: Path) -> None:
    name = "a\u202egnp.exe\x07\udce9"
    page = read_page(write_page(tmp_path / "a.html", "checked", **{**EMPTY, "name": name}))
    assert r"a\u202egnp.exe\x07\udce9" in page.text


def test_what_a_template_asks_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError):
        write_page(tmp_path / "a.html", "checked")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "words"), [("a.json", "ends in .html"), ("folder.html", "is a folder")])
def test_what_cannot_be_a_report_is_refused(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match=words):
        reject_unwritable_report(tmp_path / name)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is not a folder"):
        reject_unwritable_report(tmp_path / "file" / "a.html")
    reject_unwritable_report(tmp_path / "new" / "a.HTML")
    assert os.listdir(tmp_path) == ["file"]
