"""A model whose regions have scales of their own, as every host has it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from conemos_bundle.cli import evaluate, export, pack, train
from conemos_bundle.hosts.label.app_folder import write_app
from conemos_bundle.hosts.label.served_model import ServedModel
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.predictor import Predictor, segment_scans
from monai.bundle import ckpt_export

REGIONS = ["outer", "inner core"]
SCALES = {
    "outer": {"factor": [2, 2, 2], "found_at": None},
    "inner core": {"factor": [1, 1, 1], "within": "outer", "found_at": [2, 2, 2]},
}


@pytest.fixture(scope="module")
def scaled(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scaled") / "run"
    train(
        str(tiny_dataset / "datalist.json"), output_dir=str(folder), scales=SCALES, max_epochs=2, steps_per_epoch=24,
        patch_size=[16, 16, 16], channels=[4, 8], learning_rate=0.01, bfloat16=False, num_workers=0,
        device=torch.device("cpu"),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def packed(scaled: Path) -> Path:
    folder = scaled.parent / "scaled_regions"
    pack(str(scaled), str(folder))
    return folder


@pytest.fixture(scope="module")
def scan(tiny_dataset: Path) -> str:
    return str(tiny_dataset / "images" / "test_0.nii.gz")


@pytest.fixture(scope="module")
def expected(scaled: Path, scan: str) -> np.ndarray:
    return Predictor.load(scaled)(scan).masks


def test_it_finds_something(expected: np.ndarray, tiny_dataset: Path) -> None:
    labels = nibabel.load(tiny_dataset / "labels" / "test_0.nii.gz").get_fdata()
    dice = 2 * ((labels > 0) & (expected[0] > 0)).sum() / ((labels > 0).sum() + expected[0].sum())
    assert dice > 0.6


def test_regions_asked_for_one_by_one(scaled: Path, scan: str, expected: np.ndarray) -> None:
    predictor = Predictor.load(scaled)
    for k, region in [(1, "inner core"), (0, "outer"), (1, "inner core")]:
        assert np.array_equal(predictor(scan, region)[region], expected[k])
    each = {found.regions[0]: found.masks[0] for found in predictor.each(scan)}
    assert all(np.array_equal(each[region], expected[k]) for k, region in enumerate(REGIONS))


def test_bundle_and_torchscript_find_the_same(packed: Path, scan: str, expected: np.ndarray, tmp_path: Path) -> None:
    assert np.array_equal(Predictor.load(packed)(scan).masks, expected)
    script = tmp_path / "model.ts"
    places = (
        packed / "models" / "model.pt",
        packed / "configs" / "metadata.json",
        packed / "configs" / "inference.json",
    )
    ckpt_export("network_def", str(script), *map(str, places), bundle_root=str(packed))
    assert np.array_equal(Predictor.load(script)(scan).masks, expected)


def test_a_label_server_finds_the_same(packed: Path, scan: str, expected: np.ndarray, tmp_path: Path) -> None:
    (model,) = write_app(packed, tmp_path / "app")
    served = ServedModel(model)
    assert np.array_equal(served(scan, ["inner core"]).masks[0], expected[1])
    assert np.array_equal(served(scan).masks, expected)


def test_the_bundle_runs_by_itself(packed: Path, scan: str, expected: np.ndarray, tmp_path: Path) -> None:
    words = ["--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json", "--bundle_root", "."]
    words += ["--dataset_dir", scan, "--output_dir", str(tmp_path)]
    command = [sys.executable, "-m", "monai.bundle", "run", *words]
    subprocess.run(command, cwd=packed, check=True, capture_output=True)
    for k, region in enumerate(REGIONS):
        found = nibabel.load(tmp_path / "test_0" / f"{region}.nii.gz").get_fdata()
        assert np.array_equal(found, expected[k])


@pytest.mark.integration  # ONNX is made of what .pt2 holds, and takes as long as the two others
def test_it_is_exported_to_onnx(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    export(str(packed), formats="onnx")  # which compares
    assert capsys.readouterr().out.count("wrote") == 1


def test_it_is_exported(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(str(packed), formats="ts,pt2")
    assert capsys.readouterr().out.count("wrote") == 2
    script = torch.jit.load(packed / "models" / "model.ts")
    program = torch.export.load(packed / "models" / "model.pt2").module()
    network = Predictor.load(packed)._network
    image, codes = torch.rand(1, 1, 16, 16, 16), torch.tensor([3, 0, 2])  # of both scales
    with torch.no_grad():
        logits = network(image, codes)
        torch.testing.assert_close(script(image, codes), logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(program(image, codes), logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits[:, 1], logits[:, 2])  # one region at two scales


def test_evaluation_looks_at_scales_too(scaled: Path, tiny_dataset: Path, expected: np.ndarray, tmp_path: Path) -> None:
    evaluate(str(tiny_dataset / "datalist.json"), run=str(scaled), evaluation_dir=str(tmp_path / "test"))
    table = pd.read_csv(tmp_path / "test" / "per_scan.csv").set_index("region")
    labels = nibabel.load(tiny_dataset / "labels" / "test_0.nii.gz").get_fdata()
    for k, region in enumerate(REGIONS):
        mask = labels > k
        dice = 2 * (mask & (expected[k] > 0)).sum() / (mask.sum() + expected[k].sum())
        assert table.loc[region, "dice"] == pytest.approx(dice, abs=1e-4)


class _Blind(torch.nn.Module):
    """Finds the inner region wherever the image is bright, and the outer one never."""

    num_regions = 2

    def forward(self, image: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        inner = (regions % 2 == 1).view(1, -1, 1, 1, 1)
        return torch.where(inner, 20 * image - 10, -10.0)


@pytest.fixture
def blind(scaled: Path, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    monkeypatch.setattr("conemos_bundle.predictor.predictor.EncodeOnce", lambda *_, **__: EncodeOnce(_Blind()))
    return Predictor.load(scaled)


def test_a_container_that_is_not_found_is_told(
    blind: Predictor, scan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = blind(scan)
    assert found.missed == {"inner core": "outer"}
    assert found["inner core"].any() and not found["outer"].any()
    assert blind(scan, "outer").missed == {}
    segment_scans(blind, scan, tmp_path)
    said = "looked for in the whole scan: no outer was found"
    lines = capsys.readouterr().out.splitlines()
    assert [said in line for line in lines if "voxels" in line] == [False, True]
    regions = json.loads((tmp_path / "test_0_volumes.json").read_text())["regions"]
    assert regions["inner core"]["not_found"] == "outer"
    assert "not_found" not in regions["outer"]


def test_what_was_told_of_an_earlier_result_is_forgotten(
    blind: Predictor, scaled: Path, scan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment_scans(blind, scan, tmp_path)
    monkeypatch.undo()
    segment_scans(Predictor.load(scaled), scan, tmp_path, resume=False)
    assert "not_found" not in json.loads((tmp_path / "test_0_volumes.json").read_text())["regions"]["inner core"]


def test_fine_tuning_takes_the_scales(scaled: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_epochs": 1, "steps_per_epoch": 1, "patch_size": [16, 16, 16], "channels": [4, 8]}
    train(
        str(tiny_dataset / "datalist.json"), overlay="fine_tune", output_dir=str(tmp_path / "tuned"), bfloat16=False,
        pretrained_path=str(scaled), spacing=[2.0, 2.0, 2.0], num_workers=0, device=torch.device("cpu"), **options,
    )  # fmt: skip
    before, after = (json.loads((folder / "run.json").read_text()) for folder in (scaled, tmp_path / "tuned"))
    assert after["plan"]["scales"] == before["plan"]["scales"]
