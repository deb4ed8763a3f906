"""What strangers' names and files become in reports, pictures, tables and bundles: text, never markup or a leak."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conemos_bundle.cli import pack
from conemos_bundle.errors import UserError
from conemos_bundle.evaluation.kept import ScanReport, find, keep
from conemos_bundle.evaluation.montage import View, draw_montage
from conemos_bundle.evaluation.slices import read_slice, write_slices
from conemos_bundle.evaluation.tables import read_rows
from conemos_bundle.utils.plain import cell, cells, from_cell, markdown_text
from conemos_bundle.volumes.fingerprints import weights_hash
from PIL import Image

MARKUP = "x\n\n## Forged\n<script>alert(1)</script> | [a](javascript:alert(1)) ![b](c.png)"
PLANE = np.eye(5, dtype=np.uint8)
VIEW = View(PLANE, PLANE > 0, PLANE > 0, 1.0)
SLICE = {"image": PLANE, "reference": PLANE > 0, "prediction": PLANE > 0, "spacing": np.ones(2)}


def test_markdown_is_one_line_without_html_links_or_cells() -> None:
    text = markdown_text(MARKUP)
    assert "\n" not in text and "<" not in text
    assert not re.search(r"(?<!\\)[\[\]|`]", text)
    assert markdown_text("T1-weighted, 39% (CC BY-SA 4.0): a_b*c") == "T1-weighted, 39% (CC BY-SA 4.0): a_b*c"


@pytest.mark.parametrize("name", ["=1+cmd|A1", "+x", "-x", "@x", "'=x", "''", "'", "scan_1", "\tx"])
def test_a_spreadsheet_computes_nothing_and_names_come_back(name: str) -> None:
    assert not cell(name).startswith(("=", "+", "-", "@", "\t"))
    assert from_cell(cell(name)) == name
    assert cells(pd.DataFrame({"scan": [name], "dice": [-0.5]})).to_dict("records") == [
        {"scan": cell(name), "dice": -0.5}
    ]


def test_a_name_is_no_formula_in_a_picture(tmp_path: Path) -> None:
    draw_montage([(r"a $\frac{$ b", [VIEW] * 3)], title="$x_{$").savefig(tmp_path / "a.png")


@pytest.fixture
def evaluated(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, evaluated on one scan."""
    folder = tmp_path / "mine"
    shutil.copytree(run, folder)
    (folder / "evaluation_test").mkdir()
    row = "a,a,outer,0.75,1,1,2,2,"
    header = "scan,subject,region,dice,sd95_mm,sd95_voxels,reference_ml,predicted_ml,false_positive_ml"
    (folder / "evaluation_test" / "per_scan.csv").write_text(f"{header}\n{row}\n")
    summary = {"regions": {"outer": {"dice": {"mean": 0.99}}}, "model": weights_hash(folder / "model.pt")}
    (folder / "evaluation_test" / "summary.json").write_text(json.dumps(summary))
    Image.fromarray(PLANE).save(folder / "evaluation_test" / "montage_outer.png")
    return folder


def packed(folder: Path, tmp_path: Path) -> Path:
    pack(str(folder), str(tmp_path / "bundle"))
    return tmp_path / "bundle"


def test_a_bundle_tells_what_the_table_of_scans_says(evaluated: Path, tmp_path: Path) -> None:
    (evaluated / "evaluation_test" / "summary.md").write_bytes(b"<script>\xff")
    (evaluated / "evaluation_test" / "montage_x](javascript:alert(1)).png").write_text("private")
    bundle = packed(evaluated, tmp_path)
    described = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert described["eval_metrics"] == {"outer mean Dice": 0.75}
    card = (bundle / "docs" / "README.md").read_text()
    assert "0.750" in card and "<script" not in card and "javascript" not in card
    assert sorted(file.name for file in (bundle / "docs").glob("*.png")) == ["montage_outer.png"]


@pytest.mark.parametrize("key", ["description", "name", "license", "reference", "modality"])
def test_what_a_run_says_of_its_data_is_text_in_the_card(key: str, evaluated: Path, tmp_path: Path) -> None:
    record = json.loads((evaluated / "run.json").read_text())
    record["data"] = {"name": "x", **record.get("data", {}), key: MARKUP}
    (evaluated / "run.json").write_text(json.dumps(record))
    bundle = packed(evaluated, tmp_path)
    for file in ("README.md", "data_license.txt"):
        text = (bundle / "docs" / file).read_text()
        assert not re.search(r"(?m)^\s*(## Forged|<script)", text)
        assert "<script" not in text or file == "data_license.txt"


def rewrite(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_evaluations_that_are_not_packed(evaluated: Path, tmp_path: Path) -> None:
    folder = evaluated / "evaluation_test"
    secret = tmp_path / "secret.png"
    Image.fromarray(PLANE).save(secret)
    (folder / "montage_outer.png").unlink()
    (folder / "montage_outer.png").symlink_to(secret)
    with pytest.raises(UserError, match="is a link to another folder, and would be published"):
        packed(evaluated, tmp_path)
    (folder / "montage_outer.png").unlink()
    (folder / "montage_outer.png").write_text("no picture")
    with pytest.raises(UserError, match="is no picture"):
        packed(evaluated, tmp_path)
    (folder / "montage_outer.png").unlink()
    table = (folder / "per_scan.csv").read_text()
    (folder / "per_scan.csv").write_text(table + "a,a,liver,0.99,1,1,2,2,\n")
    with pytest.raises(UserError, match="has the region 'liver', which the model has not"):
        packed(evaluated, tmp_path)
    (folder / "per_scan.csv").write_text(table)
    rewrite(folder / "summary.json", model="")
    with pytest.raises(UserError, match="does not say of which weights"):
        packed(evaluated, tmp_path)
    assert not (tmp_path / "bundle").exists()


def test_a_scan_and_region_twice(evaluated: Path) -> None:
    file = evaluated / "evaluation_test" / "per_scan.csv"
    file.write_text(file.read_text() + file.read_text().splitlines()[-1] + "\n")
    with pytest.raises(UserError, match="has a scan and region twice"):
        read_rows(file)


@pytest.mark.parametrize(
    "changed",
    [
        {"image": np.zeros(25, np.uint8)}, {"image": np.array([["a"] * 5] * 5)}, {"image": np.zeros((0, 5), np.uint8)},
        {"prediction": PLANE[:2]}, {"reference": np.zeros((5, 5), bool)}, {"spacing": np.zeros(2)},
        {"spacing": np.full(2, np.nan)}, {"spacing": np.ones(1)}, {"spacing": np.array(["a", "b"])},
    ],
)  # fmt: skip
def test_slices_that_cannot_be_drawn(changed: dict[str, Any], tmp_path: Path) -> None:
    write_slices(tmp_path / "slices.npz", {("a", "outer"): {**SLICE, **changed}})
    with pytest.raises(UserError, match=r"slices\.npz: cannot read the slices"):
        read_slice(tmp_path / "slices.npz", "a", "outer")


def test_archives_that_unpack_to_gigabytes_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_slices(tmp_path / "slices.npz", {("a", "outer"): {**SLICE, "image": np.zeros((5, 10**6), np.uint8)}})
    monkeypatch.setattr("conemos_bundle.utils.arrays.open_arrays.__wrapped__.__defaults__", (10**6,))
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(UserError, match=r"slices\.npz: cannot read the slices"):
        read_slice(tmp_path / "slices.npz", "a", "outer")


ROW = {
    "scan": "a", "subject": "a", "region": "outer", "dice": 0.5, "sd95_mm": float("nan"), "sd95_voxels": 1.0,
    "reference_ml": 1.0, "predicted_ml": 1.0, "false_positive_ml": float("nan"),
}  # fmt: skip


def test_what_was_kept_of_a_scan_comes_back(tmp_path: Path) -> None:
    keep(tmp_path, "a", "key", ScanReport([ROW], {"outer": (VIEW,) * 3}, {"outer": SLICE}))
    found = find(tmp_path, "a", "key")
    assert found is not None
    pd.testing.assert_frame_equal(pd.DataFrame(found.rows), pd.DataFrame([ROW]))
    assert set(found.views) == set(found.slices) == {"outer"}


@pytest.mark.parametrize(
    ("rows", "views", "slices"),
    [
        ([{**ROW, "dice": 7.0}], {}, {}),
        ([{**ROW, "scan": "b"}], {}, {}),
        ([{**ROW, "region": "../../evil"}], {}, {}),
        ([{key: value for key, value in ROW.items() if key != "dice"}], {}, {}),
        (["text"], {}, {}),
        ([ROW], {"../../evil": (VIEW,) * 3}, {}),
        ([ROW], {"outer": (VIEW,)}, {}),
        ([ROW], {"outer": (View(PLANE, PLANE > 0, PLANE > 0, float("nan")),) * 3}, {}),
        ([ROW], {"outer": (View(PLANE, PLANE[:2] > 0, PLANE > 0, 1.0),) * 3}, {}),
        ([ROW], {}, {"outer": {**SLICE, "spacing": np.zeros(2)}}),
    ],
)
def test_what_no_evaluation_keeps_is_evaluated_again(rows: Any, views: Any, slices: Any, tmp_path: Path) -> None:
    keep(tmp_path, "a", "key", ScanReport(rows, views, slices))
    assert find(tmp_path, "a", "key") is None


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    keep(tmp_path, "a", "key", ScanReport([ROW], {}, {}))
    (file,) = tmp_path.glob("*.npz")
    file.unlink()
    os.mkfifo(file)
    assert find(tmp_path, "a", "key") is None
