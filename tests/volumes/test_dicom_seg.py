"""DICOM SEG of series whose tags are strange: written and read back by highdicom, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.volumes import dicom_seg
from conemos_bundle.volumes.dicom_seg import seg_images, write_seg
from conemos_bundle.volumes.region_codes import region_code
from pydicom import Dataset, dcmread
from pydicom.uid import XRayAngiographicImageStorage


@pytest.fixture(autouse=True)
def _values_that_pydicom_warns_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)


def written(series: Path) -> Dataset:
    """The SEG of a mask, which has its pixels in the images that it names."""
    images = seg_images(series)
    mask = np.zeros((1, 12, 10, 8), np.uint8)
    mask[0, 3:5, 2:8, 1:3] = 1
    file = series.parent / "x.seg.dcm"
    write_seg(file, mask, images, ["head"], [region_code("head", ["head"], [])], "model", "1")
    seg = highdicom.seg.segread(file)
    pixels = seg.get_pixels_by_source_instance([image.SOPInstanceUID for image in images])
    np.testing.assert_array_equal(pixels.transpose(3, 2, 1, 0), mask)
    return seg


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO_IR 100", "ISO_IR 100"], "Müller^Jörg"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("GB18030", "王^小东"),
        ("UTF-8", "Müller^Jörg"),
        (None, "Yamada^Tarou"),
    ],
)
def test_names_in_any_character_set(charset: Any, name: str, series: Path, change: Any) -> None:
    change(series, range(8), SpecificCharacterSet=charset, PatientName=name)
    seg = written(series)
    assert (seg.PatientName, seg.SpecificCharacterSet) == (name, "ISO_IR 192")


@pytest.mark.parametrize(
    ("tags", "thickness"),
    [
        ({}, 3),
        ({"SliceThickness": "5"}, 5),
        ({"SliceThickness": None}, 3),
        ({"SliceThickness": ""}, 3),
        ({"SliceThickness": "0"}, 3),
        ({"SliceThickness": "-2"}, 3),
        ({"SpacingBetweenSlices": "10"}, 3),
        ({"SpacingBetweenSlices": "-3"}, 3),
        ({"SpacingBetweenSlices": "0"}, 3),
    ],
)
def test_the_distance_of_slices_is_that_of_their_positions(
    tags: dict, thickness: float, series: Path, change: Any
) -> None:
    change(series, range(8), **tags)
    seg = written(series)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(3)
    assert float(measures.SliceThickness) == pytest.approx(thickness)


@pytest.mark.parametrize("modality", [None, "", "mr", "A LONG MODALITY: MAGNETIC RESONANCE"])
def test_a_modality_that_is_absent_or_anything(modality: str | None, series: Path, change: Any) -> None:
    change(series, range(8), Modality=modality)
    assert written(series).Modality == "SEG"


def test_directions_that_differ_in_their_last_digit(series: Path, change: Any) -> None:
    first = dcmread(series / "0.dcm").ImageOrientationPatient
    change(series, [3], ImageOrientationPatient=[f"{float(one) + 1e-6:.9f}" for one in first])
    orientation = written(series).SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    np.testing.assert_allclose(orientation.ImageOrientationPatient, np.array(first, float))


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"SOPClassUID": "1.3.46.670589.11.0.0.12.1"}, r"1\.3\.46\S+ \(highdicom does not know them\)"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.5"}, r"Nuclear Medicine .* \(highdicom does not know them\)"),
        ({"SOPClassUID": XRayAngiographicImageStorage}, r"X-Ray Angiographic Image Storage \(Only one source image"),
    ],
)
def test_images_of_which_no_seg_can_be_made(tags: dict, words: str, series: Path, change: Any) -> None:
    change(series, range(8), **tags)
    with pytest.raises(UserError, match=f"series: no DICOM SEG can be made of images of the kind {words}") as error:
        seg_images(series)
    assert "\n" not in str(error.value)


def test_what_highdicom_refuses_later_is_one_line_too(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_seg, "check_images", lambda _: None)
    images = seg_images(series)
    images[5].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    with pytest.raises(UserError, match=r"MR Image Storage \(Source images must have a shared orientation\.\)"):
        write_seg(series / "x", np.ones((1, 12, 10, 8), np.uint8), images, ["a"], [region_code("a", [], [])], "m", "1")
    assert not (series / "x").exists()
