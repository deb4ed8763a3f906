from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from conemos_bundle.cli import evaluate
from conemos_bundle.errors import find_user_error
from conemos_bundle.reports.evaluated import write_evaluation_report
from conemos_bundle.reports.page import REPORT
from PIL import Image

from tests.reports.reading import read_page
from tests.reports.test_page import ATTACK

REGIONS = ["outer", "inner core"]


@pytest.fixture
def evaluated(run: Path, tmp_path: Path) -> Path:
    """An evaluation of four scans, as if it had been made: ``outer`` absent in one, SD95 unknown in another."""
    folder = tmp_path / "evaluation_test"
    folder.mkdir()
    for name in ("model.pt", "run.json"):
        os.link(run / name, tmp_path / name)
    rows = []
    for i, scan in enumerate(("a", "b", ATTACK, "d")):
        for j, region in enumerate(REGIONS):
            absent = (i, j) == (3, 0)
            distance = None if (i, j) == (1, 1) else 1.0 + i
            rows.append([scan, scan, region, None if absent else 0.9 - i / 10 - j / 50, None if absent else distance,
                         distance, 0.0 if absent else 2.0, 1.5, 1.5 if absent else None])  # fmt: skip
    columns = [
        "scan",
        "subject",
        "region",
        "dice",
        "sd95_mm",
        "sd95_voxels",
        "reference_ml",
        "predicted_ml",
        "false_positive_ml",
    ]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "per_scan.csv", index=False)
    regions = {region: {"dice": {"mean": 0.5}} for region in REGIONS}
    (folder / "summary.json").write_text(json.dumps({"regions": regions, "failed": {"gone": f"no such file {ATTACK}"}}))
    Image.new("RGB", (40, 50)).save(folder / "montage_outer.png")
    return folder


def test_the_numbers_are_those_of_the_csv(evaluated: Path) -> None:
    path = write_evaluation_report(evaluated, evaluated.parent / "model.pt", "test")
    assert path == evaluated / REPORT
    page = read_page(path)
    rows = pd.read_csv(evaluated / "per_scan.csv")
    expected = []
    for region in REGIONS:
        cells = [region]
        for metric, digits in (("dice", 3), ("sd95_mm", 2)):
            its = rows.loc[rows["region"] == region, metric].dropna()
            cells += [f"{its.mean():.{digits}f} ± {its.std():.{digits}f}", f"{its.median():.{digits}f}", str(len(its))]
        expected.append(cells)
    table = page.table("Dice, mean ± SD")
    assert table[1:3] == expected
    means = [np.mean([rows.loc[rows["region"] == r, m].mean() for r in REGIONS]) for m in ("dice", "sd95_mm")]
    assert table[3] == ["mean over regions", f"{means[0]:.3f}", "", "", f"{means[1]:.2f}", "", ""]
    assert page.table("Scans with any")[1:] == [["outer", "1.500", "1", "1"]]


def test_each_scan_its_points_pictures_and_settings(evaluated: Path, run: Path) -> None:
    path = write_evaluation_report(evaluated, evaluated.parent / "model.pt", "validation")
    assert path is not None
    page = read_page(path)
    each = page.table("Reference (ml)")[1:]
    assert len(each) == 8 and each[-1][:4] == ["d", "outer", "n/a", "n/a"]
    assert [float(row[2]) for row in each[:-1]] == sorted(float(row[2]) for row in each[:-1])
    assert ["a", "outer", "0.900", "1.00", "2.000", "1.500"] in each
    circles = [tag for tag, _ in page.tags if tag == "circle"]
    assert len(circles) == (3 + 4) + (3 + 3)  # Dice and SD95 of each region, where there is one
    assert len(page.pictures) == 1 and "Split: validation" in page.text
    assert page.text.count(ATTACK) >= 3 and "which is in no number below" in page.text
    record = json.loads((run / "run.json").read_text())
    assert "FiLMUNet" in page.text and " × ".join(map(str, record["network"]["channels"])) in page.text


def test_the_same_evaluation_has_the_same_report_tomorrow(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def written() -> bytes:
        file = write_evaluation_report(evaluated, evaluated.parent / "model.pt", "test")
        assert file is not None
        return file.read_bytes()

    today = written()
    tomorrow = Mock(now=lambda: datetime.now() + timedelta(days=1))
    monkeypatch.setattr("conemos_bundle.reports.page.datetime", tomorrow)
    assert written() == today


def test_half_an_evaluation_has_no_report(evaluated: Path) -> None:
    summary = json.loads((evaluated / "summary.json").read_text())
    (evaluated / "summary.json").write_text(json.dumps({**summary, "model": "of other weights"}))
    assert write_evaluation_report(evaluated, evaluated.parent / "model.pt", "test") is None
    (evaluated / "summary.json").write_text(json.dumps(summary))
    (evaluated / "per_scan.csv").unlink()
    assert write_evaluation_report(evaluated, evaluated.parent / "model.pt", "test") is None
    assert not (evaluated / REPORT).exists()


def test_the_command_writes_it_also_where_a_scan_fails(
    tiny_dataset: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content: dict[str, Any] = json.loads((tiny_dataset / "datalist.json").read_text())
    content["dataset_dir"] = str(tiny_dataset)
    bad = {**content["test"][0], "image": "images/gone.nii.gz"}
    (tmp_path / "datalist.json").write_text(json.dumps({**content, "test": [content["test"][0], bad]}))
    options = {"run": str(run), "evaluation_dir": str(tmp_path / "out"), "device": torch.device("cpu")}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / REPORT).write_text("of an earlier evaluation")
    with pytest.raises(RuntimeError) as error:
        evaluate(str(tmp_path / "datalist.json"), **options)
    assert "1 of 2 scans were not evaluated" in str(find_user_error(error.value))
    assert f"report: {tmp_path / 'out' / REPORT}" in capsys.readouterr().out
    page = read_page(tmp_path / "out" / REPORT)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "Evaluation of tiny" in page.text and "gone, which is in no number below" in page.text
    shown = {row[0]: row[1] for row in page.table("Dice, mean ± SD")[1:3]}
    assert shown == {region: f"{summary['regions'][region]['dice']['mean']:.3f}" for region in REGIONS}
    assert len(page.pictures) == 2


def test_a_folder_in_the_place_of_the_report_is_refused_before_any_work(
    tiny_dataset: Path, run: Path, tmp_path: Path
) -> None:
    (tmp_path / REPORT).mkdir()
    with pytest.raises(RuntimeError) as error:
        evaluate(str(tiny_dataset / "datalist.json"), run=str(run), evaluation_dir=str(tmp_path))
    assert "report.html: is a folder" in str(find_user_error(error.value))
    assert sorted(os.listdir(tmp_path)) == [".lock", REPORT]
