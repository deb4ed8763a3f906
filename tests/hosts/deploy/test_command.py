"""The whole application on a stand-in of the SDK; `tests/integration/verify_deploy.py` runs it on the real one."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.cli import predict
from conemos_bundle.errors import UserError
from conemos_bundle.files import part_folder
from conemos_bundle.hosts.deploy import command
from conemos_bundle.hosts.deploy.options import parse
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.predictor import Predictor
from conemos_bundle.utils.paths import bundle_folder
from pydicom import dcmread


@pytest.fixture(autouse=True)
def _other_tests_see_no_trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(command.logging, "basicConfig", lambda **settings: None)
    yield
    for name in ("application", "sdk_operators"):  # imported again, with this test's SDK
        sys.modules.pop(f"conemos_bundle.hosts.deploy.{name}", None)


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in in place of the SDK."""
    specification = importlib.util.spec_from_file_location("stand_in_sdk", Path(__file__).with_name("stand_in_sdk.py"))
    assert specification is not None and specification.loader is not None
    stand_in = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(stand_in)
    for name, module in stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)


def bright_voxels(network: FiLMUNet, features: list[torch.Tensor], regions: torch.Tensor) -> torch.Tensor:
    """In place of `FiLMUNet.decode`: region k is what is brighter than a threshold of its own, so all are nested."""
    return 10 * (features[0] - torch.tensor([0.3, 0.5, 0.7])[regions].view(1, -1, 1, 1, 1))


@pytest.fixture
def options(series: Path, torchscript: Path, tmp_path: Path) -> Callable[..., argparse.Namespace]:
    """``options("-r", "anterior")``: of a run on ``series`` into ``tmp_path / "out"``."""
    usual = ["-i", str(series), "-m", str(torchscript), "-o", str(tmp_path / "out"), "-d", "cpu"]
    return lambda *more: parse([*usual, *more])


@pytest.mark.usefixtures("sdk")
def test_seg_nifti_and_report_are_what_predict_makes_of_an_oblique_series_with_pixels_that_are_not_square(
    options: Any, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FiLMUNet, "encode", lambda network, image: [image])
    monkeypatch.setattr(FiLMUNet, "decode", bright_voxels)
    regions = ["posterior", "hippocampus"]
    report = command.segment(options("-r", "posterior, hippocampus", "-m", str(bundle_folder())))
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["masks", "report.json", "segmentation.dcm"]
    assert json.loads((out / "report.json").read_text()) == report
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["hippocampus.nii.gz", "posterior.nii.gz"]

    predict(str(series), regions=regions, output=str(tmp_path / "predicted"), device="cpu")
    sizes = json.loads((tmp_path / "predicted" / "series_volumes.json").read_text())["regions"]
    seg = highdicom.seg.segread(out / "segmentation.dcm")
    assert [seg.get_segment_description(number).segment_label for number in (1, 2)] == regions
    images = sorted((dcmread(file) for file in series.iterdir()), key=lambda image: int(image.InstanceNumber))
    pixels = seg.get_pixels_by_source_instance([image.SOPInstanceUID for image in images])
    together = 0
    for index, region in enumerate(regions):
        expected = nibabel.load(tmp_path / "predicted" / "series" / f"{region}.nii.gz")
        mask = nibabel.load(out / "masks" / f"{region}.nii.gz")
        np.testing.assert_array_equal(mask.get_fdata(), expected.get_fdata())
        np.testing.assert_allclose(mask.affine, expected.affine, atol=1e-5)
        np.testing.assert_array_equal(pixels[..., index].T, expected.get_fdata())
        assert report["regions"][region]["voxels"] == sizes[region]["voxels"] > 0
        assert report["regions"][region]["volume_ml"] == pytest.approx(sizes[region]["volume_ml"])
        together = together + expected.get_fdata()
    assert seg.SegmentsOverlap == report["segmentation"]["segments_overlap"] == "YES"
    assert together.max() == 2
    assert int(seg.NumberOfFrames) == 2 * 8  # empty ones too


def told(data: Any, known: set[str]) -> Any:
    """What a DICOM file says, but for the UIDs that were made for it and for dates and times."""
    return {
        element.keyword: [told(item, known) for item in element.value] if element.VR == "SQ" else element.value
        for element in data
        if element.VR not in ("DA", "TM", "DT")
        and (element.VR != "UI" or str(element.value) in known or str(element.value).startswith("1.2.840.10008"))
    }


@pytest.mark.usefixtures("sdk")
def test_the_seg_is_that_of_predict_but_for_uids_and_times(
    options: Any, series: Path, change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FiLMUNet, "encode", lambda network, image: [image])
    monkeypatch.setattr(FiLMUNet, "decode", bright_voxels)
    change(series, range(8), SeriesNumber="", PatientBirthDate=None)  # filled alike
    regions = ["posterior", "hippocampus"]
    command.segment(options("-r", ",".join(regions), "-m", str(bundle_folder())))
    predict(str(series), regions=regions, output=str(tmp_path / "p"), device="cpu", output_format="dicom_seg")
    images = [dcmread(file) for file in series.iterdir()]
    known = {str(value) for image in images for value in (image.SOPInstanceUID, image.StudyInstanceUID)}
    files = [dcmread(file) for file in (tmp_path / "out" / "segmentation.dcm", tmp_path / "p" / "series.seg.dcm")]
    one, two = (told(file, known) for file in files)
    assert one == two and {"PixelData", "SegmentSequence", "PerFrameFunctionalGroupsSequence"} <= one.keys()
    assert any(one["PixelData"]) and str(known.pop()) in str(one)
    assert files[0].SOPInstanceUID != files[1].SOPInstanceUID


@pytest.mark.usefixtures("sdk")
@pytest.mark.parametrize("model", ["bundle", "torchscript"])
def test_the_masks_are_the_predictors(
    model: str, options: Any, series: Path, torchscript: Path, tmp_path: Path
) -> None:
    path = torchscript if model == "torchscript" else bundle_folder()
    command.segment(options("-m", str(path)))
    found = Predictor.load(path, "cpu")(series)
    assert len(found.regions) == 3 and found.masks.any()
    for region in found.regions:
        mask = nibabel.load(tmp_path / "out" / "masks" / f"{region}.nii.gz")
        np.testing.assert_array_equal(mask.get_fdata(), found[region])
        np.testing.assert_allclose(mask.affine, found.affine, atol=1e-5)


@pytest.mark.usefixtures("sdk")
def test_missing_tags_are_filled_and_told(options: Any, series: Path, change: Any, tmp_path: Path) -> None:
    change(series, range(8), SeriesNumber="", PatientBirthDate=None)
    report = command.segment(options("-r", "anterior"))
    assert report["series"]["tags_filled"] == ["PatientBirthDate", "SeriesNumber"]
    assert "missing or unreadable: PatientBirthDate, SeriesNumber" in command.summary(report, tmp_path / "out")
    assert dcmread(tmp_path / "out" / "segmentation.dcm").PatientBirthDate == ""


@pytest.mark.usefixtures("sdk")
def test_an_error_while_it_runs_leaves_nothing_behind(options: Any, series: Path, change: Any, tmp_path: Path) -> None:
    change(series, range(8), PixelData=bytes(12 * 10 * 2))
    with pytest.raises(UserError, match="series [0-9.]+: all voxels are equal"):
        command.segment(options())
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("sdk")
def test_an_existing_output_folder_keeps_its_files(options: Any, series: Path, change: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    command.segment(options("-r", "anterior"))
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.usefixtures("sdk")
def test_what_a_killed_run_left_is_replaced(options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = command.publish

    def cut(source: Path, target: Path) -> None:
        if target.name == command.REPORT:
            raise SystemExit
        publish(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(command, "publish", cut)
        with pytest.raises(SystemExit):
            command.segment(options())
    assert len(list((tmp_path / "out" / "masks").iterdir())) > 1 and not (tmp_path / "out" / "report.json").exists()
    command.segment(options("-r", "anterior"))
    assert [file.name for file in (tmp_path / "out" / "masks").iterdir()] == ["anterior.nii.gz"]
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("earlier", ["report.json", "segmentation.dcm", "masks"])
def test_results_of_an_earlier_run_are_not_mixed_with_new_ones(earlier: str, options: Any, tmp_path: Path) -> None:
    (tmp_path / "out" / earlier).mkdir(parents=True)
    with pytest.raises(UserError, match=f"{earlier}: from an earlier run; give another --output"):
        command.segment(options())


def test_two_runs_into_one_folder_do_not_touch_each_other(options: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with part_folder(tmp_path / "out") as other:  # between touch and unlink
        for name in (command.UNFINISHED, command.SEG):
            (tmp_path / "out" / name).write_text("of the other one")
        before = sorted((tmp_path / "out").iterdir())
        with pytest.raises(UserError, match="out: another process is writing there; wait for it, or give another"):
            command.segment(options())
        assert sorted((tmp_path / "out").iterdir()) == before and other in before


def test_inputs_that_cannot_work(options: Any, series: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, words in (
        (["-i", str(tmp_path / "none")], "no such folder"),
        (["-o", str(tmp_path / "file")], "is a file; give a folder as --output"),
        (["-c", str(tmp_path / "codes.csv")], "cannot be read as a table of codes"),
        (["-r", "anterior,,"], "region '' is unknown"),
        (["-s", "other"], "no series is called 'other'"),
    ):
        with pytest.raises(UserError) as error:
            command.segment(options(*arguments))
        assert words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_series_of_which_no_seg_can_be_made_is_refused_before_it_runs(
    options: Any, series: Path, change: Any, tmp_path: Path
) -> None:
    change(series, range(8), SOPClassUID="1.3.46.670589.11.0.0.12.1")
    with pytest.raises(UserError, match="series: no DICOM SEG can be made of images of the kind 1.3.46"):
        command.segment(options())
    assert not (tmp_path / "out").exists()


def test_without_the_sdk_the_line_says_how_to_install_it(
    options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "monai.deploy", None)  # Python's way to say that there is none
    with pytest.raises(UserError, match=r"SDK cannot be imported .*run scripts/setup_deploy\.sh"):
        command.segment(options())
    assert not (tmp_path / "out").exists()
