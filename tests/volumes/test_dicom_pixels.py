from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.dicom import check_series, read_series
from make_series import write_series
from monai.transforms import LoadImage
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit, JPEGLSLossless, RLELossless


def monai_image(folder: Path):
    """What MONAI and ITK make of the folder."""
    return LoadImage(image_only=True)(folder)


@pytest.mark.parametrize("direction", [1, -1])
def test_grey_values_and_affine_are_those_of_itk_on_an_oblique_series_with_pixels_that_are_not_square(
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


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_pixels_are_the_same(syntax: str, series: Path) -> None:
    before, _ = read_series(series)
    for file in series.iterdir():
        dataset = dcmread(file)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(file)
    np.testing.assert_array_equal(read_series(series)[0], before)


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
