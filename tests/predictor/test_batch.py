"""Scans into files: by `segment_scans`, `conemos predict` and `monai.bundle run` alike."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle import Predictor
from conemos_bundle.cli import predict
from conemos_bundle.errors import UserError, find_user_error
from conemos_bundle.inferers import each_scan
from conemos_bundle.predictor import batch, segment_scans
from conemos_bundle.training.workflows import quiet_workflow
from conemos_bundle.utils.paths import bundle_folder

REGIONS = ["hippocampus", "anterior", "posterior"]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(device="cpu")


@pytest.fixture
def scans(scans: Path) -> Path:
    """Three scans, no two alike; ``b`` lies obliquely."""
    image = nibabel.load(scans / "b.nii.gz")
    turn = np.eye(4)
    turn[:2, :2] = [[0.96, -0.28], [0.28, 0.96]]
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), turn @ image.affine), scans / "b.nii.gz")
    return scans


def bundle_run(scans: Path, output: Path, root: Path | None = None, **options: Any) -> None:
    """What `python -m monai.bundle run` does with inference.json."""
    configs = (root or bundle_folder()) / "configs"
    workflow = quiet_workflow(
        workflow_type="inference",
        config_file=[str(configs / "inference.json"), str(configs / "batch_inference.json")],
        meta_file=str(configs / "metadata.json"),
        logging_file=False,
        bundle_root=root or bundle_folder(),
        dataset_dir=scans,
        output_dir=output,
        **options,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def files(folder: Path) -> dict[str, np.ndarray]:
    """The masks in a folder, by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): np.asarray(nibabel.load(path).dataobj)
        for path in sorted(folder.rglob("*.nii.gz"))
    }


def test_the_masks_of_the_command_line_of_monai_bundle_and_of_a_predictor_are_one(
    predictor: Predictor, scans: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable, "-m", "monai.bundle", "run", "inference", "--bundle_root", str(bundle_folder()),
        "--config_file", str(bundle_folder() / "configs" / "inference.json"),
        "--meta_file", str(bundle_folder() / "configs" / "metadata.json"),
        "--dataset_dir", str(scans), "--output_dir", str(tmp_path / "bundle"), "--device", "cpu",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(bundle_folder()), *sys.path])}
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    predict(str(scans), output=str(tmp_path / "command"), device="cpu")
    expected = files(tmp_path / "bundle")
    written = files(tmp_path / "command")
    assert list(written) == list(expected) == sorted(f"{name}/{region}.nii.gz" for name in "abc" for region in REGIONS)
    assert expected["a/hippocampus.nii.gz"].any() and expected["a/anterior.nii.gz"].any()
    for name in "abc":
        found = predictor(scans / f"{name}.nii.gz")
        for region in REGIONS:
            file = f"{name}/{region}.nii.gz"
            np.testing.assert_array_equal(written[file], expected[file])
            np.testing.assert_array_equal(found[region], expected[file])
    for file in expected:  # with the same headers too
        assert (tmp_path / "command" / file).read_bytes() == (tmp_path / "bundle" / file).read_bytes()


def test_each_leaves_out_what_the_other_has_done(predictor: Predictor, scans: Path, tmp_path: Path) -> None:
    bundle_run(scans, tmp_path / "one", regions=["anterior"], device="cpu")
    assert segment_scans(predictor, scans, tmp_path / "one", "anterior") == []
    assert len(segment_scans(predictor, scans, tmp_path / "one", "anterior", resume=False)) == 3
    segment_scans(predictor, scans, tmp_path / "two", "anterior")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(each_scan, "run_scan", None)
        bundle_run(scans, tmp_path / "two", regions=["anterior"], device="cpu")


def test_what_was_just_written_is_returned_and_printed(
    predictor: Predictor, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (first,) = segment_scans(predictor, scans / "a.nii.gz", out, ["anterior"])
    capsys.readouterr()
    (second,) = segment_scans(predictor, scans / "a.nii.gz", out, "posterior")
    mask = out / "a" / "posterior.nii.gz"
    assert list(first["regions"]) == ["anterior"] and list(second["regions"]) == ["posterior"]
    assert (second["image"], second["outputs"]) == (str(scans / "a.nii.gz"), [str(mask)])
    voxels = int(nibabel.load(mask).get_fdata().sum())
    sure = round((predictor(scans / "a.nii.gz", confidences=True).confidences or {})["posterior"], 4)
    size = {
        "voxels": voxels,
        "volume_ml": pytest.approx(voxels * 8 / 1000),
        "confidence": pytest.approx(sure, abs=2e-4),
    }
    assert second["regions"]["posterior"] == size
    assert capsys.readouterr().out.splitlines() == [
        str(scans / "a.nii.gz"),
        f"  posterior: {voxels} voxels, {voxels * 8 / 1000:.3f} ml, confidence {sure:.2f}",
        f"  {mask}",
    ]
    assert segment_scans(predictor, [scans / "a.nii.gz"], out, "posterior") == []
    assert capsys.readouterr().out == "a: done already\nnothing to do: all scans are done\n"


def test_a_bad_scan_is_told_alike(
    predictor: Predictor, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / "b.nii.gz").write_text("no scan")
    printed = []
    for output, segment in (("one", lambda: segment_scans(predictor, scans, tmp_path / "one")), ("two", None)):
        with pytest.raises(Exception, match=".") as error:
            segment() if segment else bundle_run(scans, tmp_path / output, device="cpu")
        assert str(find_user_error(error.value)) == "1 of 3 scans were not segmented: b"
        told = capsys.readouterr()
        printed.append([text.replace(str(tmp_path / output), "OUT") for text in told])
    printed[0][0], confidences = re.subn(r", confidence 0\.\d\d", "", printed[0][0])
    assert confidences == 6  # `monai.bundle run` has masks alone to tell of
    assert printed[0] == printed[1]
    assert printed[0][0].endswith("a  segmented\nb  FAILED\nc  segmented\n") and "b.nii.gz: " in printed[0][1]


def test_label_maps_are_painted_in_the_order_asked_for(predictor: Predictor, scans: Path, tmp_path: Path) -> None:
    found = predictor(scans / "a.nii.gz")
    assert (found["hippocampus"] & found["anterior"]).any()
    values = {}
    for order in (["hippocampus", "anterior", "posterior"], ["anterior", "posterior", "hippocampus"]):
        (result,) = segment_scans(
            predictor, scans / "a.nii.gz", tmp_path / "out", output_format="labelmap", paint_order=order
        )
        assert result["paint_order"] == order  # and so it is not done already
        values[order[-1]] = np.asarray(nibabel.load(tmp_path / "out" / "a_labelmap.nii.gz").dataobj)
    np.testing.assert_array_equal(values["hippocampus"] == 1, found["hippocampus"] > 0)
    np.testing.assert_array_equal(values["posterior"] == 3, found["posterior"] > 0)
    with pytest.raises(UserError, match="paint_order: leaves out 'hippocampus'"):
        segment_scans(predictor, scans, tmp_path, output_format="labelmap", paint_order=["anterior", "posterior"])


def test_options_come_before_the_folder_and_the_folder_before_scans(
    predictor: Predictor, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(*arguments: Any) -> None:
        raise AssertionError("scans are read")

    monkeypatch.setattr(batch, "find_scans", find)
    for options in ({"regions": "femur"}, {"output_format": "png"}, {"paint_order": ["femur"]}):
        with pytest.raises(UserError):
            segment_scans(predictor, scans, tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        segment_scans(predictor, scans, tmp_path / "file")
    with pytest.raises(AssertionError, match="scans are read"):
        segment_scans(predictor, scans, tmp_path / "out")


def test_no_scan(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scan given"):
        segment_scans(predictor, [], tmp_path / "out")


def test_a_model_that_is_replaced_amid_a_batch_of_monai_bundle_is_not_mixed_in(
    predictor: Predictor, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "bundle"
    for folder in ("configs", "models"):
        shutil.copytree(bundle_folder() / folder, root / folder)
    segment_scans(predictor, scans, tmp_path / "expected", "anterior")
    segment = each_scan.run_scan

    def train_meanwhile(*arguments: Any) -> Any:
        output = segment(*arguments)
        weights = torch.load(root / "models" / "model.pt", weights_only=True)
        torch.save({name: tensor * 1.5 for name, tensor in weights.items()}, root / "models" / "model.pt")
        return output

    monkeypatch.setattr(each_scan, "run_scan", train_meanwhile)
    bundle_run(scans, tmp_path / "out", root, regions=["anterior"], device="cpu")
    expected, written = files(tmp_path / "expected"), files(tmp_path / "out")
    assert list(expected) == list(written)
    for file, mask in expected.items():
        np.testing.assert_array_equal(written[file], mask)
