from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.multiprocessing
from conemos_bundle.errors import OutputError, UserError
from conemos_bundle.evaluation import report as evaluation_report
from conemos_bundle.evaluation.kept import find, keep
from conemos_bundle.evaluation.report import EvaluationReport
from ignite.engine import Engine
from matplotlib.figure import Figure
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator

REGIONS = ["body", "left eye"]
AFFINE = torch.diag(torch.tensor([-2.0, 1.0, 3.0, 1.0]))
SHAPE = (12, 14, 10)


def _scan(name: str, missing: int = 0, unknown: tuple[int, ...] = (), empty: tuple[int, ...] = ()) -> dict[str, Any]:
    """Both regions are a box of 6 x 4 x 4 voxels; the first ``missing`` of its 6 planes are not predicted."""
    label = torch.zeros(len(REGIONS), *SHAPE)
    label[:, 3:9, 5:9, 2:6] = 1
    prediction = label.clone()
    prediction[:, 3 : 3 + missing] = 0
    label[list(unknown)] = math.nan
    label[list(empty)] = 0
    image = torch.as_tensor(np.random.default_rng(0).normal(size=(1, *SHAPE)), dtype=torch.float32)
    tensors = {"image": image, "pred": prediction, "label": label}
    return {"name": name, "subject": name[:2]} | {k: MetaTensor(v, affine=AFFINE) for k, v in tensors.items()}


def _evaluate(folder: Path, *batches: list[dict[str, Any]]) -> None:
    def step(engine: Engine, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: scan[key] for key in ("image", "pred", "label")} for scan in batch]

    engine = Engine(step)
    report = EvaluationReport(folder, REGIONS)
    report.attach(engine)
    engine.run(batches)
    report.write()


def test_rows_of_annotated_regions(tmp_path: Path) -> None:
    _evaluate(tmp_path, [_scan("s2_a", missing=3, unknown=(1,)), _scan("s1_a")], [_scan("s3_a", missing=6, empty=(0,))])
    rows = pd.read_csv(tmp_path / "per_scan.csv")
    assert list(rows.columns) == [
        "scan", "subject", "region", "dice", "sd95_mm", "sd95_voxels", "reference_ml", "predicted_ml",
        "false_positive_ml",
    ]  # fmt: skip
    box = 6 * 4 * 4 * 2 * 1 * 3 / 1000  # ml: planes of 16 voxels of 6 mm³
    expected = [
        ["s1_a", "s1", "body", 1.0, 0.0, 0.0, box, box, math.nan],
        ["s1_a", "s1", "left eye", 1.0, 0.0, 0.0, box, box, math.nan],
        ["s2_a", "s2", "body", 2 * 3 / 9, 6.0, 3.0, box, box / 2, math.nan],
        ["s3_a", "s3", "body", math.nan, math.nan, math.nan, 0.0, 0.0, 0.0],
        ["s3_a", "s3", "left eye", 0.0, 30.0, 14.0, box, 0.0, math.nan],  # the largest side: 10 × 3 mm, 14 voxels
    ]
    pd.testing.assert_frame_equal(rows, pd.DataFrame(expected, columns=rows.columns), rtol=1e-6)
    assert (tmp_path / "per_scan.csv").read_text().splitlines()[4] == "s3_a,s3,body,,,,0.0,0.0,0.0"
    assert "\nNothing found: left eye in 1 of 2 scans." in (tmp_path / "summary.md").read_text()


def test_false_positives_where_a_region_is_absent(tmp_path: Path) -> None:
    """Two scans without the eye, in one of which half of the box is predicted."""
    found, clean = _scan("a", missing=3, empty=(1,)), _scan("b", missing=6, empty=(1,))
    _evaluate(tmp_path, [found, clean, _scan("c")])
    half = 3 * 4 * 4 * 2 * 1 * 3 / 1000
    rows = pd.read_csv(tmp_path / "per_scan.csv").query("region == 'left eye'").set_index("scan")
    assert rows["false_positive_ml"].tolist()[:2] == pytest.approx([half, 0])
    assert rows.loc[["a", "b"], ["dice", "sd95_mm", "sd95_voxels"]].isna().all(axis=None)
    summary = json.loads((tmp_path / "summary.json").read_text())["regions"]
    assert summary["left eye"]["false_positives"] == {"mean_ml": pytest.approx(half / 2), "scans_with_any": 1, "n": 2}
    assert summary["left eye"]["dice"]["n"] == 1
    assert "false_positives" not in summary["body"]
    assert f"| left eye | {half / 2:.3f} | 1 | 2 |" in (tmp_path / "summary.md").read_text()


def test_ignored_voxels_count_in_no_column(tmp_path: Path) -> None:
    """Of the body's 6 planes the last 3 are ignored; of the first 3, the first is not predicted."""
    scan = _scan("a", missing=1)
    scan["label"][0, 6:] = math.nan
    scan["label"][1, 3:9] = math.nan  # no known voxel lies inside
    scan["label"][1, 9:] = math.nan
    scan["pred"][1, 2] = 1
    _evaluate(tmp_path, [scan])
    body, eye = pd.read_csv(tmp_path / "per_scan.csv").to_dict("records")
    plane = 4 * 4 * 2 * 1 * 3 / 1000
    assert body["dice"] == pytest.approx(2 * 2 / (2 + 3))
    assert (body["reference_ml"], body["predicted_ml"]) == (pytest.approx(3 * plane), pytest.approx(2 * plane))
    assert math.isnan(body["sd95_mm"]) and math.isnan(body["sd95_voxels"])
    assert eye["false_positive_ml"] == pytest.approx(SHAPE[1] * SHAPE[2] * 2 * 1 * 3 / 1000)


def test_summary_leaves_out_what_has_no_value(tmp_path: Path) -> None:
    _evaluate(tmp_path, [_scan("a"), _scan("b", missing=3, unknown=(1,)), _scan("c", empty=(0,))])
    summary = json.loads((tmp_path / "summary.json").read_text())
    body = summary["regions"]["body"]["dice"]
    assert body["mean"] == pytest.approx((1 + 2 / 3) / 2)
    assert body["standard_deviation"] == pytest.approx(math.sqrt(2) / 6)
    assert [summary["regions"][region]["dice"]["n"] for region in REGIONS] == [2, 2]
    assert summary["mean_over_regions"]["dice"] == pytest.approx((5 / 6 + 1) / 2)
    assert "| body | 0.833 ± 0.236 | 0.833 | 2 |" in (tmp_path / "summary.md").read_text()


def test_pictures_of_regions_that_have_a_value_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    _evaluate(folder, [_scan("a", unknown=(1,))], [_scan("b", empty=(1,))])
    files = ["montage_body.png", "per_scan.csv", "slices.npz", "summary.json", "summary.md"]
    assert sorted(os.listdir(folder)) == files
    assert (folder / "montage_body.png").read_bytes().startswith(b"\x89PNG")


def test_a_slice_of_each_scan_and_region_that_has_a_value(tmp_path: Path) -> None:
    _evaluate(tmp_path, [_scan("b", missing=3, unknown=(1,))], [_scan("a/x", empty=(0,))])
    with np.load(tmp_path / "slices.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert {key.rpartition("/")[0] for key in arrays} == {"b/body", "a/x/left eye"}
    # RAS: the first axis is turned; slices are axial, 3 mm apart, with rows along y (1 mm) and columns along x (2 mm)
    assert arrays["b/body/image"].shape == (SHAPE[1], SHAPE[0]) and arrays["b/body/image"].dtype == np.uint8
    assert arrays["b/body/spacing"].tolist() == [1.0, 2.0]
    for part, columns in (("reference", slice(3, 9)), ("prediction", slice(3, 6))):
        expected = np.zeros((SHAPE[1], SHAPE[0]), dtype=bool)
        expected[5:9, columns] = True
        assert (arrays[f"b/body/{part}"] == expected).all()


def test_columns_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}

    def draw(columns: Any, title: str) -> Figure:
        drawn[title] = columns
        return Figure()

    monkeypatch.setattr(evaluation_report, "draw_montage", draw)
    long_name = "subject-0123456789-session-0123456789-bold"
    _evaluate(tmp_path, [_scan("middle", missing=3), _scan("low", missing=6, unknown=(1,))], [_scan(long_name)])
    headings = [heading for heading, _ in drawn["body"]]
    assert headings == [
        "best: subject-0123456…-0123456789-bold\nDice 1.000, SD95 0.0 mm",
        "median: middle\nDice 0.667, SD95 6.0 mm",
        "worst: low\nDice 0.000, SD95 30.0 mm",
    ]
    coronal_areas = [int(views[1].prediction.sum()) for _, views in drawn["body"]]
    assert coronal_areas == [24, 12, 0]  # each column shows its own scan
    assert [heading.partition(":")[0] for heading, _ in drawn["left eye"]] == ["best", "worst"]


def test_no_annotated_scan(tmp_path: Path) -> None:
    _evaluate(tmp_path, [_scan("a", unknown=(0, 1))])
    assert pd.read_csv(tmp_path / "per_scan.csv").empty
    assert json.loads((tmp_path / "summary.json").read_text())["mean_over_regions"]["dice"] is None


def test_a_second_report_starts_afresh(tmp_path: Path) -> None:
    engine = Engine(lambda engine, batch: batch)
    report = EvaluationReport(tmp_path, REGIONS)
    report.attach(engine)
    for name in "ab":
        engine.run([[_scan(name)]])
        report.write()
    assert set(pd.read_csv(tmp_path / "per_scan.csv")["scan"]) == {"b"}
    with np.load(tmp_path / "slices.npz") as file:
        assert {key.partition("/")[0] for key in file} == {"b"}


def test_refuses_a_folder_that_cannot_be_made_before_the_evaluation(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/report: cannot make this folder .* choose another"):
        _evaluate(tmp_path / "file" / "report", [{"name": "never reached"}])


def test_refuses_another_grid(tmp_path: Path) -> None:
    scan = _scan("a")
    scan["image"] = scan["image"][:, 1:]
    with pytest.raises(ValueError, match=r"a: prediction .* on the image's grid"):
        _evaluate(tmp_path, [scan])


def test_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Figure, path: Path, **settings: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OutputError, match="disk full"):
        _evaluate(tmp_path, [_scan("a")])
    assert os.listdir(tmp_path) == []


def test_with_a_monai_evaluator(tmp_path: Path) -> None:
    scans = [_scan("a", missing=3), _scan("b", unknown=(0,))]
    for scan in scans:
        scan["image"][0, :6] = 1.0  # the "network" predicts where the image is 1, in both channels
    report = EvaluationReport(tmp_path, REGIONS)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset([{k: v for k, v in s.items() if k != "pred"} for s in scans]), batch_size=2),
        network=torch.nn.Identity(),
        inferer=lambda inputs, network: (inputs == 1).float().repeat(1, 2, 1, 1, 1),
        val_handlers=[report],
    )
    evaluator.run()
    report.write()
    rows = pd.read_csv(tmp_path / "per_scan.csv")
    assert rows[["scan", "region"]].to_numpy().tolist() == [["a", "body"], ["a", "left eye"], ["b", "left eye"]]
    assert rows["predicted_ml"].tolist() == pytest.approx([6 * 14 * 10 * 6 / 1000] * 3)  # a voxel is 6 mm³
    assert rows["dice"].tolist() == pytest.approx([2 * 48 / (840 + 96)] * 3)


def _evaluate_in_one_of_two(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)  # as in a data loader's worker: OpenMP does not survive a fork
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    scans = [[_scan("a"), _scan("c", missing=6)], [_scan("b", missing=3), _scan("a")]]  # a sampler has repeated scan a
    _evaluate(folder / str(rank), scans[rank])
    torch.distributed.destroy_process_group()


def test_two_processes_write_one_report(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_evaluate_in_one_of_two, (tmp_path,), nprocs=2, start_method="fork")
    rows = pd.read_csv(tmp_path / "0" / "per_scan.csv")
    body = rows[rows["region"] == "body"]
    assert body["scan"].tolist() == ["a", "b", "c"]
    assert body["dice"].tolist() == pytest.approx([1, 2 / 3, 0])
    assert (tmp_path / "0" / "montage_body.png").is_file()  # the median's views come from the other process
    assert os.listdir(tmp_path / "1") == []
    with np.load(tmp_path / "0" / "slices.npz") as file:
        assert {key.partition("/")[0] for key in file} == {"a", "b", "c"}


def test_what_is_kept_of_a_scan_makes_the_same_report(tmp_path: Path) -> None:
    scans = [_scan("a"), _scan("b", missing=3, unknown=(1,)), _scan("c", missing=2, empty=(0,))]
    _evaluate(tmp_path / "whole", scans)
    report = EvaluationReport(tmp_path / "parts", REGIONS)
    for scan in scans[:2]:  # of an evaluation that was cut
        engine = Engine(lambda engine, batch: batch)
        first = EvaluationReport(tmp_path / "cut", REGIONS)
        first.attach(engine)
        engine.run([[scan]])
        keep(tmp_path / "kept", scan["name"], "key", first.kept(scan["name"]))
        assert find(tmp_path / "kept", scan["name"], "another key") is None
        found = find(tmp_path / "kept", scan["name"], "key")
        assert found is not None
        report.take(scan["name"], found)
    engine = Engine(lambda engine, batch: batch)
    report.attach(engine)
    engine.run([[scans[2]]])
    report.write()
    for file in sorted((tmp_path / "whole").iterdir()):
        assert file.read_bytes() == (tmp_path / "parts" / file.name).read_bytes(), file.name
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert find(tmp_path / "kept", "a", "key") is None


def test_scans_that_failed_are_named_and_in_no_number(tmp_path: Path) -> None:
    engine = Engine(lambda engine, batch: batch)
    report = EvaluationReport(tmp_path, REGIONS)
    report.attach(engine)
    engine.run([[_scan("a")]])
    report.write({"b": "b.nii.gz: truncated"})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["failed"] == {"b": "b.nii.gz: truncated"} and summary["regions"]["body"]["dice"]["n"] == 1
    assert "Not evaluated, and in no number above: b." in (tmp_path / "summary.md").read_text()
