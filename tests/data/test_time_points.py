from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conemos_bundle.cli import datalist
from conemos_bundle.data.check import structural_problems
from conemos_bundle.data.datalist import Datalist, read_datalist
from conemos_bundle.data.time_points import shared_patients, subject_pattern

TIMES = [
    (["sub-01_ses-01_T1w", "sub-01_ses-02_T1w", "sub-02_ses-01_T1w"], "sub-01"),
    (["P1_t1", "P1_t2", "P2_t1"], "P1"),
    (["anna_visit1", "anna_visit2", "bob_visit1"], "anna"),
    (["X_baseline", "X_followup", "Y_baseline", "Y_followup"], "X"),
    (["P7_2019-03-01", "P7_20200401", "P8_20190301"], "P7"),
    ([f"patient{p}_{t}" for p in range(4) for t in range(3)], "patient0"),
    ([f"genius_{p:02d}{t:02d}" for p in range(12) for t in range(3)], "genius_00"),
    ([f"sub-{p:02d}_run-{t}_T2w" for p in range(5) for t in (1, 2)], "sub-00"),
    ([f"patient{p:03d}_frame{f:02d}" for p in range(1, 20) for f in (1, 5 + p % 9)], "patient001"),
    ([f"P{p}_{t}" for p in range(5) for t in ("ED", "ES")], "P0"),
    ([f"P{p}_{t}" for p in range(5) for t in ("pre", "post")], "P0"),
    ([f"knee{p:03d}_{t}" for p in range(5) for t in ("left", "right")], "knee000"),
    ([f"OAS1_{p:04d}_MR{t}" for p in range(5) for t in (1, 2)], "OAS1_0000"),
    ([f"P{p}_t{t}_flair" for p in range(5) for t in (1, 2)], "P0"),
    ([f"t{t}_P{p}" for p in range(5) for t in (1, 2)], "P0"),
    ([f"P{p}T{t}" for p in range(5) for t in (1, 2)], "P0"),
    ([f"P{p:02d}{t}" for p in range(5) for t in "ab"], "P00"),
    ([f"002_S_{p}_{t}" for p in range(1000, 1005) for t in ("bl", "m06", "m12")], "002_S_1000"),
    ([f"{p}_20252_{t}_0" for p in range(1000011, 1000016) for t in (2, 3)], "1000011"),
    ([f"OAS3000{p}_MR_d{100 * t + p:04d}" for p in range(1, 6) for t in (1, 9)], "OAS30001"),
    ([f"BraTS-GLI-{p:05d}-{t:03d}" for p in range(20) for t in ((0, 1) if p < 3 else (0,))], "BraTS-GLI-00000"),
    ([f"TCGA-02-00{p}_200{t}.03.0{p % 9}" for p in range(10, 15) for t in (1, 2)], "TCGA-02-0010"),
    ([f"fetus{p:03d}_{t}w" for p in range(1, 6) for t in (24 + p % 2, 30)], "fetus001"),
    ([f"fetus{p:03d}_{t}" for p in range(1, 6) for t in ("24w3d", "30w0d")], "fetus001"),
    ([f"child{p}_{t}mo" for p in range(5) for t in (3, 18)], "child0"),
    ([f"P{p:02d}_GA{t}" for p in range(5) for t in (24, 31)], "P00"),
    *(([f"P{p:02d}_{kind}{t}" for p in range(5) for t in (1, 2, 3)], "P00") for kind in ("stack", "series", "study")),
    ([f"P{p:02d}_{t}" for p in range(5) for t in ("arterial", "venous")], "P00"),
]
NO_TIMES = [
    [f"hippocampus_{number:03d}" for number in (1, 3, 4, 6, 7, 8, 11, 105, 106, 380)],
    [f"chaos_{number:02d}" for number in range(1, 21)],
    [f"case_{number:04d}" for number in range(1, 300)],
    [f"case_{number:04d}" for number in range(95, 106)],
    [f"case_{number:06d}" for number in (998, 999, 1000, 1001)],
    [f"{organ}_scan_{number:03d}" for organ in ("liver", "spleen") for number in range(30)],
    [f"2024_{month:02d}_{day:02d}" for month in (1, 2, 3) for day in (4, 5, 6)],
    [f"sub-{number:03d}_rec-mial_T2w" for number in range(1, 81)],
    [f"sub-CC{number:05d}_ses-{10 + number}" for number in range(40)],
    [f"s{number:04d}" for number in range(0, 1429, 13)],
    [f"BraTS20_Training_{number:03d}" for number in range(1, 40)],
    [f"IXI{number:03d}-Guys-0{700 + number}" for number in range(2, 60)],
    [f"training_mother_{number:03d}" for number in range(54)],
    [f"site{site}_{number:03d}" for site in range(3) for number in range(40)],
    [f"BraTS-MEN-{number:05d}-000" for number in range(1, 60, 2)],
    [f"BraTS-{center}-{number:05d}-{number:03d}" for center in ("GLI", "MEN") for number in range(40)],
    [f"{number}_20252_2_0" for number in range(1000011, 1000040)],
    [f"OAS3{number:04d}_MR_d{7 * number:04d}" for number in range(1, 40)],
    [f"TCGA-02-{number:04d}_2001.03.{number:02d}" for number in range(1, 28)],
    [f"fetus{number:03d}_{20 + number % 18}w" for number in range(1, 60)],
    [f"{site}_{number}w" for site in ("oslo", "bern") for number in range(20, 40)],
    [f"stack{number}" for number in range(9)],
    [f"study_{number:03d}" for number in range(40)],
    [f"{phase}_{number:03d}" for phase in ("arterial", "venous") for number in range(30)],
    ["anna", "bob", "carl"],
    ["one"],
    [],
]


@pytest.mark.parametrize(("names", "patient"), TIMES)
def test_times_of_patients(names: list[str], patient: str) -> None:
    pattern = subject_pattern(names)
    assert pattern is not None and re.compile(pattern).groups == 1
    found = re.search(pattern, names[0])
    assert found is not None and found[1] == patient


@pytest.mark.parametrize("names", NO_TIMES, ids=lambda names: names[0] if names else "none")
def test_numbered_scans_are_no_times(names: list[str]) -> None:
    assert subject_pattern(names) is None


def test_patients_in_two_splits() -> None:
    _, shared = shared_patients({"training": {"P1_t1", "P2_t1"}, "validation": {"P1_t2"}, "test": {"P1_t3", "P3_t1"}})
    assert shared == [("P1_t1", "training", "P1_t2", "validation")]
    assert shared_patients({"training": {"P1_t1", "P1_t2"}, "validation": {"P2_t1"}, "test": set()})[1] == []


def folder(root: Path, names: list[str]) -> Path:
    for name in names:
        for kind in ("images", "masks/organ"):
            (root / kind).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)), root / kind / f"{name}.nii.gz")
    return root


def test_datalist_suggests_the_option_that_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folder(tmp_path / "d", [f"genius_{p:02d}{t:02d}" for p in range(8) for t in range(3)])
    datalist(str(source), str(tmp_path / "d.json"))
    told = re.search(r"--subject '(.+)'", capsys.readouterr().out)
    assert told is not None
    without = structural_problems(read_datalist(tmp_path / "d.json"), source)
    assert any(line.startswith("warning: subjects 'genius_") and told[1] in line for line in without)
    datalist(str(source), str(tmp_path / "e.json"), subject=told[1])
    assert "--subject" not in capsys.readouterr().out
    mended = read_datalist(tmp_path / "e.json")
    assert len({scan.subject for scan in (*mended.training, *mended.validation, *mended.test)}) == 8
    assert not [line for line in structural_problems(mended, source) if "look like" in line]


def test_bids_names_say_their_subject(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folder(tmp_path / "d", [f"sub-{p:02d}_ses-{t}_T2w" for p in range(6) for t in (1, 2)])
    datalist(str(source), str(tmp_path / "d.json"))
    assert "BIDS" in capsys.readouterr().out
    written = json.loads((tmp_path / "d.json").read_text())
    subjects = {split: {scan["subject"] for scan in written[split]} for split in ("training", "validation", "test")}
    assert set().union(*subjects.values()) == {f"sub-{p:02d}" for p in range(6)}
    assert sum(map(len, subjects.values())) == 6  # each in one split


def test_bids_subjects_of_given_splits_too(source: Path, imported: Callable[..., Datalist]) -> None:
    cases = [f"sub-{p:02d}_ses-{t}" for p in range(5) for t in (1, 2)]
    files = [f"{path}.nii.gz" for case in cases for path in (f"imagesTr/{case}_0000", f"labelsTr/{case}")]
    files += [f"{path}.nii.gz" for path in ("imagesTs/sub-01_ses-3_0000", "labelsTs/sub-01_ses-3")]
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
    data = imported({**dict.fromkeys(files, ""), "dataset.json": about})
    assert [scan.subject for scan in data.test] == ["sub-01"]
    assert {scan.subject for scan in data.training + data.validation} == {f"sub-{p:02d}" for p in range(5)}
    told = [line for line in structural_problems(data, source) if "subject 'sub-01' is in test and in" in line]
    assert len(told) == 1 and told[0].startswith("error: ")


def test_a_table_s_own_subjects_stay(imported: Callable[..., Datalist], capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"sub-{p:02d}_site{site}" for p in range(3) for site in "AB"]
    files = dict.fromkeys([f"{kind}/{name}.nii.gz" for kind in ("images", "labels") for name in names], "")
    table = "scan,subject,liver\n" + "".join(f"{name},{name},1\n" for name in names)
    data = imported({**files, "table.csv": table}, csv="table.csv", regions={"liver": 1})
    assert {scan.subject for scan in data.training + data.validation + data.test} == set(names)
    assert "BIDS" not in capsys.readouterr().out


def test_check_tells_a_few_patients_and_counts_the_others(tmp_path: Path) -> None:
    source = folder(tmp_path / "d", [f"P{p}_t{t}" for p in range(9) for t in (1, 2)])

    def scan(name: str) -> dict[str, object]:
        return {"image": f"images/{name}.nii.gz", "subject": name, "masks": {"organ": f"masks/organ/{name}.nii.gz"}}

    scans = {time: [scan(f"P{p}_t{time}") for p in range(9)] for time in (1, 2)}
    data = Datalist.model_validate({"regions": ["organ"], "training": scans[1], "validation": scans[2]})
    warnings = [line for line in structural_problems(data, source) if line.startswith("warning: ")]
    assert len(warnings) == 4 and warnings[-1] == "warning: so do those of 6 more patients"
