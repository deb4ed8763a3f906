"""`conemos predict --probabilities`, the confidence of each region, and what a temperature changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conemos_bundle.cli import pack, predict
from conemos_bundle.errors import UserError
from conemos_bundle.inferers import SaveImageRegionsd
from conemos_bundle.predictor import Predictor

REGIONS = ["outer", "inner core"]


@pytest.fixture
def scan(tiny_dataset: Path, tmp_path: Path) -> Path:
    """An oblique scan whose voxels are smaller than the network's."""
    image = nibabel.load(tiny_dataset / "images" / "test_0.nii.gz")
    turn = np.diag([1.5, 1.5, 1.5, 1.0])
    turn[:2, :2] = [[1.2, -0.9], [0.9, 1.2]]
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), turn), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.fixture
def calibrated(run: Path, tmp_path: Path) -> Path:
    """The tiny run with a temperature of 4."""
    folder = tmp_path / "calibrated"
    shutil.copytree(run, folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "temperature": 4.0}))
    return folder


def results(scan: Path, model: Path, output: Path, **options: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the JSON says of each region, and the voxels of all files."""
    predict(str(scan), model=str(model), output=str(output), device="cpu", **options)
    told = json.loads((output / "scan_volumes.json").read_text())
    files = {file.name: np.asarray(nibabel.load(file).dataobj) for file in sorted((output / "scan").iterdir())}
    return told, files


def test_probabilities_lie_beside_the_masks_that_they_agree_with(scan: Path, run: Path, tmp_path: Path) -> None:
    told, files = results(scan, run, tmp_path / "out", probabilities=True)
    assert set(files) == {f"{region}{kind}.nii.gz" for region in REGIONS for kind in ("", "_probability")}
    for region in REGIONS:
        sure, mask = files[f"{region}_probability.nii.gz"], files[f"{region}.nii.gz"]
        assert sure.dtype == np.float32 and sure.shape == nibabel.load(scan).shape
        assert 0 <= sure.min() < sure.max() <= 1
        np.testing.assert_array_equal(sure > 0.5, mask)
        assert told["contents"][str(tmp_path / "out" / "scan" / f"{region}_probability.nii.gz")] == [region]
        header = nibabel.load(tmp_path / "out" / "scan" / f"{region}_probability.nii.gz").header
        np.testing.assert_array_equal(header.get_sform(), nibabel.load(scan).affine.astype(np.float32))


@pytest.mark.parametrize("output_format", ["multichannel", "labelmap", "seg.nrrd"])
def test_every_format_takes_them(output_format: str, scan: Path, run: Path, tmp_path: Path) -> None:
    told, files = results(scan, run, tmp_path / "out", regions="outer", output_format=output_format, probabilities=True)
    assert list(files) == ["outer_probability.nii.gz"] and len(told["contents"]) == 2 + (
        output_format == "multichannel"
    )


def test_the_confidence_is_always_told(
    scan: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, _ = results(scan, run, tmp_path / "out")
    confidences = Predictor.load(run, "cpu")(scan, confidences=True).confidences or {}
    assert {region: size["confidence"] for region, size in told["regions"].items()} == {
        region: pytest.approx(sure, abs=1e-4) for region, sure in confidences.items()
    }
    assert f"ml, confidence {confidences['outer']:.2f}\n" in capsys.readouterr().out


def test_a_temperature_changes_probabilities_and_confidence_and_no_mask(
    scan: Path, run: Path, calibrated: Path, tmp_path: Path
) -> None:
    before, one = results(scan, run, tmp_path / "one", probabilities=True)
    after, two = results(scan, calibrated, tmp_path / "two", probabilities=True)
    for region in REGIONS:
        np.testing.assert_array_equal(one[f"{region}.nii.gz"], two[f"{region}.nii.gz"])
        name = f"{region}_probability.nii.gz"
        assert np.abs(two[name] - 0.5).max() < np.abs(one[name] - 0.5).max()
        assert after["regions"][region]["confidence"] != before["regions"][region]["confidence"]
        assert after["regions"][region]["voxels"] == before["regions"][region]["voxels"] > 0


def test_on_the_network_s_grid_probabilities_are_of_logits_over_the_temperature(
    tiny_dataset: Path, run: Path, calibrated: Path
) -> None:
    scan = tiny_dataset / "images" / "test_0.nii.gz"  # of 2 mm, as the network's
    one, two = (Predictor.load(model, "cpu")(scan, probabilities=True).probabilities for model in (run, calibrated))
    assert one is not None and two is not None
    logits = np.log(one.astype(float) / (1 - one))
    np.testing.assert_allclose(np.log(two / (1 - two.astype(float))), logits / 4, atol=1e-3)


def test_resume_takes_probabilities_and_temperature_into_account(
    scan: Path, run: Path, calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, options, done in (
        (run, {}, False),
        (run, {}, True),
        (run, {"probabilities": True}, False),
        (run, {"probabilities": True}, True),
        (run, {}, True),
        (calibrated, {}, False),
    ):
        predict(str(scan), model=str(model), output=str(tmp_path / "out"), device="cpu", **options)
        assert ("scan: done already" in capsys.readouterr().out) == done


def test_a_bundle_has_the_temperature_of_its_run(calibrated: Path, tmp_path: Path) -> None:
    pack(str(calibrated), str(tmp_path / "bundle"))
    assert Predictor.load(tmp_path / "bundle", "cpu").temperature == 4
    assert Predictor.load(None, "cpu").temperature == 1


def test_a_region_that_is_called_as_the_probability_of_another_is_refused(tmp_path: Path) -> None:
    names = ["liver", "Liver_Probability"]
    with pytest.raises(UserError, match="that of 'liver' would be the file of region 'Liver_Probability'"):
        SaveImageRegionsd(region_names=names, regions=["liver"], output_dir=tmp_path, probabilities=True)
    SaveImageRegionsd(region_names=names, regions=names, output_dir=tmp_path)
