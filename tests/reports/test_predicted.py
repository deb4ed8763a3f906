from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conemos_bundle.cli import predict
from conemos_bundle.errors import UserError
from conemos_bundle.predictor import Predictor
from conemos_bundle.reports import predicted
from conemos_bundle.reports.page import REPORT
from conemos_bundle.reports.predicted import write_prediction_report

from tests.reports.reading import read_page
from tests.reports.test_page import ATTACK

REGIONS = ["outer", "inner core"]


@pytest.fixture
def scan(tiny_dataset: Path) -> Path:
    return tiny_dataset / "images" / "test_0.nii.gz"


def test_the_numbers_are_those_of_the_volumes_file(scan: Path, run: Path, tmp_path: Path) -> None:
    predict(str(scan), model=str(run), output=str(tmp_path), report=True)
    page = read_page(tmp_path / REPORT)
    sizes = json.loads((tmp_path / "test_0_volumes.json").read_text())["regions"]
    volumes = [f"{sizes[region]['volume_ml']:.3f}" for region in REGIONS]
    assert page.table("Scan") == [["Scan", *(f"{region} (ml)" for region in REGIONS)], ["test_0", *volumes]]
    sure = [f"{sizes[region]['confidence']:.2f}" for region in REGIONS]
    rows = [[region, volumes[i], str(sizes[region]["voxels"]), sure[i]] for i, region in enumerate(REGIONS)]
    assert page.table("Region") == [["Region", "Volume (ml)", "Voxels", "Confidence"], *rows]
    assert len(page.pictures) == 3 and all(len(each) > 1000 for each in page.pictures)
    for words in (
        "Confidence is the Dice that the network expects",
        "1 scan segmented",
        "2 regions asked for",
        "test_0.nii.gz",
        "L at the left",
        "window",
        "cpu",
    ):
        assert words in " ".join(page.text.replace("1scan", "1 scan").replace("2regions", "2 regions").split()), words
    assert str(scan.parent) not in page.text  # reports are passed on


def test_scans_that_are_done_or_fail_are_in_it_and_warnings(scan: Path, run: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "good.nii.gz").write_bytes(scan.read_bytes())
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9), np.float32), np.eye(4)), scans / "dark.nii.gz")
    background = np.zeros((20, 18, 16), np.float32)
    background[9:11, 9, 9] = [1, 2]
    nibabel.save(nibabel.Nifti1Image(background, np.diag([2.0, 2, 2, 1])), scans / f"{ATTACK[:8]}.nii.gz")
    options: dict[str, Any] = {"model": str(run), "output": str(tmp_path / "out"), "report": True}
    predict(str(scans / "good.nii.gz"), regions="outer", **options)
    with pytest.raises(UserError, match="1 of 3 scans were not segmented: dark"):
        predict(str(scans), regions="outer", **options)
    page = read_page(tmp_path / "out" / REPORT)
    rows = {row[0]: row for row in page.table("Scan")[1:]}
    assert rows.keys() == {"<script>", "dark", "good"}
    assert rows["dark"][1] == "–" and "all voxels are equal" in rows["dark"][2] and float(rows["good"][1]) > 0
    assert page.text.count("nearly all voxels are background") == 1
    assert len(page.pictures) == 6


@pytest.mark.parametrize("output_format", ["multichannel", "labelmap", "seg.nrrd"])
def test_other_formats_have_pictures_too(output_format: str, scan: Path, run: Path, tmp_path: Path) -> None:
    predict(str(scan), model=str(run), output=str(tmp_path), report=True, output_format=output_format)
    assert len(read_page(tmp_path / REPORT).pictures) == 3


def test_what_was_not_found_is_told(scan: Path, tmp_path: Path) -> None:
    said = {
        "image": str(scan),
        "contents": {},
        "regions": {
            "outer": {"voxels": 0, "volume_ml": 0.0},
            "inner core": {"voxels": 5, "volume_ml": 0.04, "not_found": "outer", "confidence": 0.876},
        },
    }
    (tmp_path / "test_0_volumes.json").write_text(json.dumps(said))
    items = [{"image": str(scan), "name": "test_0"}]
    page = read_page(write_prediction_report(tmp_path, items, REGIONS, {"model": ATTACK}, {}, [ATTACK]))
    assert page.table("Region")[1:] == [
        ["outer", "0.000", "0", "–", "look not found"],
        ["inner core", "0.040", "5", "0.88", "look looked for in the whole scan: no outer was found"],
    ]
    assert page.text.count(ATTACK) == 2
    assert page.pictures == [] and "No picture: " in page.text  # its masks are not there


def test_a_page_of_many_scans_stays_small(
    scan: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(str(scan), model=str(run), output=str(tmp_path))
    items = [{"image": str(scan), "name": "test_0"}] * 8
    monkeypatch.setattr(predicted, "MOST_LETTERS", 30_000)
    monkeypatch.setattr(predicted, "MOST_ROWS", 6)
    page = read_page(write_prediction_report(tmp_path, items, REGIONS, {}))
    assert 3 <= len(page.pictures) <= 9
    assert "a report stays small" in page.text and "The first 6 of 8 scans" in page.text


def test_a_report_that_cannot_be_written_is_refused_before_any_work(
    scan: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / REPORT).mkdir()
    monkeypatch.setattr(Predictor, "load", lambda *_: pytest.fail("began"))
    with pytest.raises(UserError, match=r"report.html: is a folder"):
        predict(str(scan), model=str(run), output=str(tmp_path), report=True)
    assert os.listdir(tmp_path) == [REPORT]


def test_without_the_option_there_is_none(scan: Path, run: Path, tmp_path: Path) -> None:
    predict(str(scan), model=str(run), output=str(tmp_path), regions="outer")
    assert not (tmp_path / REPORT).exists()


def test_where_the_last_scan_fails_the_report_says_so_and_names_no_folder(
    scan: Path, run: Path, tmp_path: Path
) -> None:
    scans, out = tmp_path / "Jane Doe", tmp_path / "out"
    scans.mkdir()
    shutil.copy(scan, scans / "a.nii.gz")
    (scans / "b.nii.gz").write_bytes(scan.read_bytes()[:5000])
    predict(str(scans / "a.nii.gz"), model=str(run), output=str(out))
    with pytest.raises(UserError, match="1 of 2 scans were not segmented: b"):
        predict(str(scans), model=str(run), output=str(out), report=True)
    page = read_page(out / REPORT)
    assert "1failed" in page.text.replace("\n", "") and "b.nii.gz" in page.text
    assert "Jane Doe" not in (out / REPORT).read_text() and str(tmp_path) not in (out / REPORT).read_text()
