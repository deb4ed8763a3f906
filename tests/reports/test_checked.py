from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conemos_bundle.cli.check import check
from conemos_bundle.errors import UsageError
from conemos_bundle.reports.checked import read_problem

from tests.reports.reading import Page, read_page
from tests.reports.test_page import ATTACK


def report(content: dict[str, Any], folder: Path) -> Page:
    (folder / "datalist.json").write_text(json.dumps(content))
    check(str(folder / "datalist.json"), report=str(folder / "new" / "check.html"))
    return read_page(folder / "new" / "check.html")


def test_counts_relations_and_scales_are_those_that_are_printed(
    good: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del good["validation"][0]["masks"]["back"]
    good["training"][1]["masks"]["front"] = {"absent": True}
    page = report({**good, "name": ATTACK, "inside": {"front": "whole"}}, tmp_path)
    assert page.table("training (2)") == [
        ["Region", "training (2)", "validation (1)", "test (1)"],
        ["whole", "2", "1", "1"],
        ["front", "1 + 1 absent", "1", "1"],
        ["back", "2", "0", "1"],
    ]
    assert page.table("Relation")[1:] == [
        ["whole", "contains", "front (3), back (3)"],
        ["front", "excludes", "back (2)"],
    ]
    assert page.table("Looked for")[1] == ["whole", "4 x 6 x 6", "1 x 2 x 3", "0.5", "in the whole scan"]
    assert page.table("What to do")[1:] == [["warning", "region 'back'", "no validation scan annotates it", ""]]
    assert "PSL loss, conemos train --overlay psl_loss: 2.5 masks per scan" in page.text
    assert "name a side" not in page.text
    assert f"Data set {ATTACK}" in page.text and "front inside whole" in page.text
    assert f"wrote {tmp_path / 'new' / 'check.html'}" in capsys.readouterr().out


def test_sides_are_told(good: dict[str, Any], tmp_path: Path) -> None:
    page = report(json.loads(json.dumps(good).replace('"front"', '"left half"')), tmp_path)
    assert "'left half' name a side" in page.text


def test_errors_come_first_and_the_command_still_ends_with_1(good: dict[str, Any], tmp_path: Path) -> None:
    del good["validation"][0]["masks"]["back"]
    name = "<b>x<b>"
    for index in (1, 3):
        (tmp_path / f"i{index}.nii.gz").rename(tmp_path / f"{name}{index}.nii.gz")
    good["training"][1]["image"] = f"{name}1.nii.gz"
    good["test"][0]["image"] = f"{name}gone.nii.gz"
    empty = np.zeros((6, 5, 4), np.uint8)
    nibabel.save(nibabel.Nifti1Image(empty, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "m1.nii.gz")
    with pytest.raises(SystemExit) as ended:
        report(good, tmp_path)
    assert ended.value.code == 1
    page = read_page(tmp_path / "new" / "check.html")
    rows = page.table("What to do")[1:]
    assert [row[0] for row in rows] == ["error", "error", "warning"]
    assert rows[0][1:3] == [f"{name}gone.nii.gz", "no such file"]
    assert rows[1][1] == "m1.nii.gz" and "is empty" in rows[1][2] and rows[1][3].startswith("if it is unknown")
    assert str(tmp_path) not in page.text and "Scales are planned once" in page.text
    assert "Method" not in page.text


def test_ignored_voxels_are_told(good: dict[str, Any], tmp_path: Path) -> None:
    good["training"][0]["masks"]["front"] = {"file": "l0.nii.gz", "values": [1], "ignore": 2}
    page = report(good, tmp_path)
    part = 100 * (1 - 12 / 120)
    assert page.table("known (%)")[1:] == [["training", "front", f"{part:.3g}", "1"]]


def test_no_word_of_a_line_is_lost() -> None:
    assert read_problem("warning: no place; a; b") == ("warning", "", "no place", "a; b")
    assert read_problem("error: /d/a: b: c; d", "/d") == ("error", "a", "b: c", "d")


@pytest.mark.parametrize("name", ["datalist.json", "gone"])
def test_other_files_are_not_overwritten(name: str, good: dict[str, Any], tmp_path: Path) -> None:
    text = json.dumps(good)
    (tmp_path / "datalist.json").write_text(text)
    with pytest.raises(UsageError, match="ends in .html"):
        check(str(tmp_path / "datalist.json"), report=str(tmp_path / name))
    assert (tmp_path / "datalist.json").read_text() == text
