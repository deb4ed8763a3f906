"""`conemos predict --output_format dicom_seg`, read back by highdicom."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from conemos_bundle.cli import predict
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.make_series import write_series
from conemos_bundle.predictor import Predictor
from conemos_bundle.utils import extras
from pydicom import Dataset, dcmread


@pytest.fixture
def segment(run: Path, tmp_path: Path) -> Callable[..., Path]:
    """``segment(scan, …)``: the tiny run on scans; the folder of the results."""

    def made(*scans: Path, **options: Any) -> Path:
        given = {"model": str(run), "output": str(tmp_path / "out"), "output_format": "dicom_seg", "device": "cpu"}
        predict(*map(str, scans), **{**given, **options})
        return tmp_path / "out"

    return made


def pixels_of(file: Path, series: Path) -> np.ndarray:
    """``(R, W, H, D)``, by the images that the SEG names, in their order in space."""
    images = sorted((dcmread(image) for image in series.glob("*.dcm")), key=lambda image: int(image.InstanceNumber))
    seg = highdicom.seg.segread(file)
    return seg.get_pixels_by_source_instance([image.SOPInstanceUID for image in images]).transpose(3, 2, 1, 0)


def test_an_oblique_series_becomes_a_segment_per_region_that_may_overlap(segment: Any, series: Path, run: Path) -> None:
    out = segment(series, regions="inner core,outer")
    assert sorted(file.name for file in out.iterdir()) == ["series.seg.dcm", "series_volumes.json"]
    found = Predictor.load(run, "cpu")(series, ["inner core", "outer"])
    assert found.masks.any((1, 2, 3)).all() and (found.masks[0] & found.masks[1]).any()
    np.testing.assert_array_equal(pixels_of(out / "series.seg.dcm", series), found.masks)
    seg = highdicom.seg.segread(out / "series.seg.dcm")
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["inner core", "outer"]
    assert seg.SegmentsOverlap == "YES" and int(seg.NumberOfFrames) == 2 * 8  # empty ones too
    image = dcmread(series / "0.dcm")
    for tag in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[tag].value == image[tag].value
    assert seg.SeriesInstanceUID != image.SeriesInstanceUID and "research only" in seg.SeriesDescription
    told = json.loads((out / "series_volumes.json").read_text())
    assert told["contents"] == {str(out / "series.seg.dcm"): ["inner core", "outer"]}
    assert told["regions"]["outer"]["voxels"] == int(found["outer"].sum())


def test_names_in_any_letters_are_written_whole(segment: Any, series: Path, run: Path, tmp_path: Path) -> None:
    names = ["頭部", "Größe"]
    shutil.copytree(run, tmp_path / "model")
    record = json.loads((run / "run.json").read_text())
    (tmp_path / "model" / "run.json").write_text(json.dumps({**record, "regions": names, "data": {}}))
    for file in series.glob("*.dcm"):
        image = dcmread(file)
        image.SpecificCharacterSet, image.PatientName = "ISO_IR 100", "Müller^Jörg"
        image.save_as(file)
    seg = dcmread(segment(series, model=str(tmp_path / "model")) / "series.seg.dcm")
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == names
    assert seg.PatientName == "Müller^Jörg" and seg.SpecificCharacterSet == "ISO_IR 192"


def test_the_regions_of_the_hippocampus_have_their_codes(segment: Any, series: Path) -> None:
    seg = highdicom.seg.segread(segment(series, model=None, regions="anterior") / "series.seg.dcm")
    kind = seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodeMeaning) == ("5366008", "Hippocampus")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Anterior"


def test_the_same_command_again_leaves_out_what_is_done(
    segment: Any, series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = segment(series) / "series.seg.dcm"
    first = file.read_bytes()
    segment(series)
    assert "series: done already" in capsys.readouterr().out and file.read_bytes() == first
    file.write_bytes(first[:300])  # cut
    segment(series)
    again, before = (dcmread(BytesIO(content)) for content in (file.read_bytes(), first))
    assert again.PixelData == before.PixelData and again.SegmentSequence == before.SegmentSequence  # new are its UIDs


@pytest.mark.parametrize("output_format", ["files", "dicom_seg"])
def test_results_in_the_folder_of_the_series_are_found_done_and_are_no_scan(
    output_format: str, segment: Any, series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for scan, name in ((series, "series"), (series.parent, "series")):  # both: in the working directory
        options = {"output": str(scan / "predictions"), "output_format": output_format}
        segment(scan, **options)
        assert "done already" not in capsys.readouterr().out
        segment(scan, **options)
        assert capsys.readouterr().out.startswith(f"{name}: done already\nnothing to do")


def test_masks_are_not_written_among_the_slices(segment: Any, series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Predictor, "each", lambda *_, **__: pytest.fail("the network ran"))
    before = sorted(series.parent.rglob("*"))
    with pytest.raises(UserError, match="series: its masks would lie among its slices; pass another --output$"):
        segment(series.parent, output=str(series.parent), output_format="files")
    assert sorted(series.parent.rglob("*")) == before


def test_several_series_of_a_folder_each_become_a_file(
    segment: Any, voxels: np.ndarray, oblique: np.ndarray, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_series(tmp_path / "study" / name, voxels, oblique)
    out = segment(tmp_path / "study")
    for name in ("a", "b"):
        source = dcmread(tmp_path / "study" / name / "3.dcm")
        refers = highdicom.seg.segread(out / f"{name}.seg.dcm").ReferencedSeriesSequence[0]
        assert refers.SeriesInstanceUID == source.SeriesInstanceUID
    (tmp_path / "mixed").mkdir()
    for name in ("a", "b"):
        for file in (tmp_path / "study" / name).iterdir():
            shutil.copy(file, tmp_path / "mixed" / f"{name}{file.name}")
    with pytest.raises(UserError, match="holds 2 DICOM series: "):
        segment(tmp_path / "mixed")


def test_a_seg_in_the_folder_of_its_series_is_no_scan(segment: Any, series: Path) -> None:
    segment(series, output=str(series))
    segment(series, output=str(series), resume=False)
    assert (series / "series.seg.dcm").is_file()


def test_what_is_no_dicom_folder_is_refused_before_work(segment: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    images = tiny_dataset / "images"
    for scan in (images / "test_0.nii.gz", images):
        with pytest.raises(UserError) as error:
            segment(scan)
        assert "no DICOM folder, as dicom_seg needs; use another --output_format" in str(error.value)
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"FrameOfReferenceUID": None}, r"0\.dcm: has no readable FrameOfReferenceUID"),
        ({"SOPClassUID": "1.3.46.670589.11.0.0.12.1"}, r"series: no DICOM SEG can be made of images of the kind 1\.3"),
    ],
)
def test_a_series_of_which_no_seg_can_be_made_is_refused_before_the_network_runs(
    tags: dict, words: str, segment: Any, series: Path, change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "each", lambda *_, **__: pytest.fail("the network ran"))
    change(series, range(8), **tags)
    with pytest.raises(UserError, match=words):
        segment(series)
    assert not list((tmp_path / "out").glob("*"))


def test_without_highdicom_one_line_says_what_to_install(
    segment: Any, series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"highdicom is not installed; pip install 'conemos-bundle\[dicom\]'"):
        segment(series)


def test_an_empty_region_has_a_segment_of_empty_frames(
    segment: Any, series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Predictor.load.__func__  # type: ignore[attr-defined]

    def loaded(*arguments: Any) -> Predictor:
        predictor: Predictor = load(Predictor, *arguments)
        to_masks = predictor._to_masks
        predictor._to_masks = lambda data: {"pred": 0 * to_masks(data)["pred"]}  # type: ignore[assignment]
        return predictor

    monkeypatch.setattr(Predictor, "load", loaded)
    seg: Dataset = highdicom.seg.segread(segment(series) / "series.seg.dcm")
    assert len(seg.SegmentSequence) == 2 and int(seg.NumberOfFrames) == 16 and not any(seg.PixelData)
