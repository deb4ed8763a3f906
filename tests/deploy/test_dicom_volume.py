from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conemos_bundle.errors import UserError
from dicom_series import find_series
from dicom_volume import affine_ras, read_pixels, volume
from make_series import write_series
from monai.data import ITKReader
from monai.transforms import LoadImage
from pydicom import dcmread


def itk_image(folder: Path):
    return LoadImage(reader=ITKReader(), image_only=True)(folder)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_grey_values_and_affine_are_those_of_itk_on_an_oblique_series_with_pixels_that_are_not_square(
    order: slice, tmp_path: Path, voxels: np.ndarray, oblique: np.ndarray
) -> None:
    affine = oblique @ np.diag([1, 1, -1 if order.step else 1, 1])  # with the files along the normal, and against it
    write_series(tmp_path, voxels, affine)
    datasets = read_pixels(find_series(tmp_path))
    expected = itk_image(tmp_path)
    np.testing.assert_array_equal(volume(datasets), expected.numpy())
    np.testing.assert_allclose(affine_ras(datasets), expected.affine.numpy(), atol=1e-9)


def test_the_second_direction_has_the_distance_of_rows(series: Path, oblique: np.ndarray) -> None:
    affine = affine_ras(find_series(series))
    np.testing.assert_allclose(affine, oblique, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), [1.5, 2.5, 3.0])


def test_an_empty_first_slice_does_not_cut_the_fractions_of_the_others(
    tmp_path: Path, voxels: np.ndarray, oblique: np.ndarray
) -> None:
    voxels = np.abs(voxels)
    voxels[..., 0] = 0
    write_series(tmp_path, voxels, oblique)
    values = volume(read_pixels(find_series(tmp_path)))
    assert (values[..., 0] == 0).all()
    np.testing.assert_allclose(values, voxels, atol=float(np.ptp(voxels)) / 65535)
    assert (values != np.rint(values)).any()


@pytest.mark.parametrize("bits", [16, 12])
def test_monochrome1_is_inverted_as_in_itk(bits: int, series: Path, change, voxels: np.ndarray) -> None:
    if bits == 12:
        for index in range(8):
            stored = dcmread(series / f"{index}.dcm").pixel_array >> 4
            change(series, [index], PixelData=stored.tobytes(), BitsStored=12, HighBit=11)
    before = volume(read_pixels(find_series(series)))
    change(series, range(8), PhotometricInterpretation="MONOCHROME1")
    values = volume(read_pixels(find_series(series)))
    np.testing.assert_array_equal(values, itk_image(series).numpy())
    assert np.corrcoef(values.ravel(), before.ravel())[0, 1] == pytest.approx(-1)


def test_signed_monochrome1_is_refused(series: Path, change) -> None:
    change(series, range(8), PhotometricInterpretation="MONOCHROME1", PixelRepresentation=1)
    with pytest.raises(UserError, match="signed MONOCHROME1 pixels"):
        volume(read_pixels(find_series(series)))


@pytest.mark.parametrize("damage", ["truncated", "no pixels"])
def test_pixels_that_cannot_be_read_are_refused(damage: str, series: Path, change) -> None:
    if damage == "truncated":
        change(series, [5], PixelData=b"\0\0")
    else:
        change(series, [5], PixelData=None)
    with pytest.raises(UserError, match=r"5\.dcm: its pixels cannot be read") as error:
        read_pixels(find_series(series))
    assert "\n" not in str(error.value)
