from __future__ import annotations

from pathlib import Path

import itk
import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.make_series import write_series
from conemos_bundle.volumes import dicom_pixels
from conemos_bundle.volumes.dicom import check_series, read_series
from monai.transforms import LoadImage
from pydicom import dcmread
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)


def monai_image(folder: Path):
    """What MONAI and ITK make of the folder."""
    return LoadImage(image_only=True)(folder)


@pytest.mark.parametrize("direction", [1, -1])
def test_gray_values_and_affine_are_those_of_itk_on_an_oblique_series_with_pixels_that_are_not_square(
    direction: int, tmp_path: Path, voxels: np.ndarray, oblique: np.ndarray
) -> None:
    affine = oblique @ np.diag([1, 1, direction, 1])  # with the files along the normal, and against it
    write_series(tmp_path, voxels, affine)
    values, read_affine = read_series(tmp_path)
    expected = monai_image(tmp_path)
    np.testing.assert_array_max_ulp(values, expected.numpy(), 1)
    np.testing.assert_allclose(read_affine, expected.affine.numpy(), atol=1e-6)
    np.testing.assert_allclose(values[..., ::direction], voxels, atol=float(np.ptp(voxels)) / 65535)


def test_the_second_direction_has_the_distance_of_rows(series: Path, oblique: np.ndarray) -> None:
    affine = read_series(series)[1]
    np.testing.assert_allclose(affine, oblique, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), [1.5, 2.5, 3.0])


def test_a_length_that_looks_like_a_vr_is_a_length(tmp_path: Path, oblique: np.ndarray) -> None:
    voxels = np.random.default_rng(0).random((102, 102, 2))
    for image in write_series(tmp_path, voxels, oblique):
        assert len(image.PixelData).to_bytes(4, "little") == b"HQ\0\0"
        image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        image.save_as(tmp_path / f"{image.InstanceNumber - 1}.dcm", implicit_vr=True, little_endian=True)
    np.testing.assert_allclose(read_series(tmp_path)[0], voxels, atol=1 / 65535)


def test_slices_may_have_slopes_of_their_own_whatever_the_first_one_has(series: Path, change) -> None:
    stored = np.stack([dcmread(series / f"{index}.dcm").pixel_array.T for index in range(8)], -1)
    change(series, [0], RescaleSlope="1", RescaleIntercept="0")
    change(series, range(1, 8), RescaleSlope="0.25", RescaleIntercept="0.5")
    values, _ = read_series(series)
    np.testing.assert_array_equal(values[..., 0], stored[..., 0])
    np.testing.assert_array_equal(values[..., 1:], 0.25 * stored[..., 1:] + 0.5)


def test_monochrome1_is_inverted_as_itk_does(series: Path, change) -> None:
    before, _ = read_series(series)
    change(series, range(8), PhotometricInterpretation="MONOCHROME1")
    values, _ = read_series(series)
    np.testing.assert_array_max_ulp(values, monai_image(series).numpy(), 1)
    assert np.corrcoef(values.ravel(), before.ravel())[0, 1] == pytest.approx(-1)


def compress(folder: Path, syntax: str) -> None:
    """By pydicom, or by ITK for what pydicom does not write."""
    kinds = {
        JPEG2000Lossless: itk.GDCMImageIOEnums.Compression_JPEG2000,
        JPEGLosslessSV1: itk.GDCMImageIOEnums.Compression_JPEG,
    }
    for file in folder.iterdir():
        dataset = dcmread(file)
        if syntax in kinds:
            image, image_io = itk.image_from_array(np.ascontiguousarray(dataset.pixel_array)), itk.GDCMImageIO.New()
            image_io.SetCompressionType(kinds[syntax])
            other = str(folder.parent / "compressed.dcm")
            writer = itk.ImageFileWriter[type(image)].New(Input=image, FileName=other, ImageIO=image_io)
            writer.UseCompressionOn()
            writer.Update()
            compressed = dcmread(other)
            assert compressed.file_meta.TransferSyntaxUID == syntax
            dataset.file_meta.TransferSyntaxUID, dataset.PixelData = syntax, compressed.PixelData
            dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        else:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(file)


SYNTAXES = [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_compressed_pixels_are_the_same(syntax: str, series: Path, change) -> None:
    change(series, range(1, 8), RescaleSlope="0.25", RescaleIntercept="0.5")
    before, _ = read_series(series)
    compress(series, syntax)
    np.testing.assert_array_equal(read_series(series)[0], before)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "tags", [{"Rows": 9}, {"Columns": 11}, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, {"Rows": 60000}]
)
def test_a_header_of_another_size_than_the_codestream_is_refused(tags: dict, syntax: str, series: Path, change) -> None:
    """ITK leaves out rows, or cuts values to 8 bits, without a word."""
    compress(series, syntax)
    change(series, range(8), **tags)
    with pytest.raises(UserError, match=r"0\.dcm: its (compressed )?pixels are ") as error:
        check_series(series)
    assert "\n" not in str(error.value)


def test_values_of_more_bits_than_the_header_has_are_refused(series: Path, change) -> None:
    compress(series, JPEGLSLossless)
    change(series, range(8), BitsStored=12, HighBit=11)
    with pytest.raises(UserError, match=r"\.dcm: its pixels do not fit 12 bits"):
        read_series(series)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_truncated_compressed_pixels_are_refused(syntax: str, series: Path) -> None:
    compress(series, syntax)
    (series / "0.dcm").write_bytes((series / "0.dcm").read_bytes()[:-9])
    with pytest.raises(UserError, match=r"0\.dcm: its pixels are missing or truncated"):
        check_series(series)


@pytest.mark.parametrize("program", ["import os; os.abort()", "raise SystemExit(1)", "import time; time.sleep(60)"])
def test_a_decoder_that_ends_or_hangs_is_one_line(
    program: str, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress(series, JPEGLSLossless)
    (tmp_path / "decoder.py").write_text(program)
    monkeypatch.setattr(dicom_pixels, "DECODER", tmp_path / "decoder.py")
    monkeypatch.setattr(dicom_pixels, "PATIENCE", -14 if "sleep" in program else 120)  # and 2 seconds per slice
    with pytest.raises(UserError, match=r"0\.dcm: its pixels cannot be read \(transfer syntax JPEG-LS"):
        read_series(series)


@pytest.mark.parametrize("pixels", [None, b"", bytes(100)])
def test_missing_and_truncated_pixels_are_refused(pixels: bytes | None, series: Path, change) -> None:
    change(series, [5], PixelData=pixels)
    with pytest.raises(UserError, match=r"5\.dcm: its pixels are missing or truncated"):
        check_series(series)


def test_pixels_that_nothing_decodes_are_refused_with_their_transfer_syntax(series: Path) -> None:
    for file in series.iterdir():
        dataset = dcmread(file)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.save_as(file)
    with pytest.raises(UserError, match=r"cannot be read \(transfer syntax JPEG Baseline") as error:
        read_series(series)
    assert "\n" not in str(error.value)
