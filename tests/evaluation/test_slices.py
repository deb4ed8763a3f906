from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.evaluation.slices import largest_slice, read_slice, write_slices

SHAPE = (8, 9, 10)


def _masks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image whose voxels are all different, a reference with its largest areas at (2, 5, 6), a far prediction."""
    image = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    reference = np.zeros(SHAPE, dtype=bool)
    reference[2, 3:7, 4:8] = reference[1:5, 5, 4:8] = reference[1:5, 3:7, 6] = True
    prediction = np.zeros(SHAPE, dtype=bool)
    prediction[7] = prediction[:, 0] = prediction[:, :, 9] = True
    return image, prediction, reference


@pytest.mark.parametrize(
    ("spacing", "axis", "index", "in_plane"),
    [
        ((2, 2, 2), 2, 6, (2, 2)),  # isotropic: axial
        ((3, 1, 2), 0, 2, (2, 1)),
        ((1, 3, 2), 1, 5, (2, 1)),
        ((1, 2.00001, 2), 2, 6, (2.00001, 1)),  # the same but for rounding
    ],
)
def test_the_largest_area_across_the_coarsest_axis(
    spacing: tuple[float, ...], axis: int, index: int, in_plane: tuple[float, float]
) -> None:
    image, prediction, reference = _masks()
    found = largest_slice(image, prediction, reference, np.diag([*spacing, 1.0]))
    for name, array in (("image", image), ("prediction", prediction), ("reference", reference)):
        assert (found[name] == np.take(array, index, axis).T).all()
    np.testing.assert_allclose(found["spacing"], in_plane)


def test_the_same_slice_however_the_scan_is_stored() -> None:
    image, prediction, reference = _masks()
    expected = largest_slice(image, prediction, reference, np.diag([1.0, 1.5, 2.0, 1.0]))
    stored = [np.flip(array.transpose(2, 0, 1), 1) for array in (image, prediction, reference)]
    # the axes are now those of z, x (towards left) and y
    affine = np.array([[0, -1.0, 0, 7], [0, 0, 1.5, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]])
    found = largest_slice(*stored, affine)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    one = largest_slice(*_masks(), np.eye(4))
    write_slices(tmp_path / "a.part", {("sub/1", "left eye"): one})
    read = read_slice(tmp_path / "a.part", "sub/1", "left eye")
    assert read is not None and set(read) == set(one)
    for name, array in one.items():
        np.testing.assert_array_equal(read[name], array)
    assert read_slice(tmp_path / "a.part", "sub/1", "eye") is None
    write_slices(tmp_path / "b.part", {("sub/1", "left eye"): one})
    assert (tmp_path / "a.part").read_bytes() == (tmp_path / "b.part").read_bytes()


def test_no_slice_at_all_is_a_file_too(tmp_path: Path) -> None:
    write_slices(tmp_path / "slices.npz", {})
    assert read_slice(tmp_path / "slices.npz", "a", "b") is None


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "slices.npz").write_bytes(b"PK no")
    with pytest.raises(UserError, match=r"slices.npz: cannot read the slices; evaluate the run again"):
        read_slice(tmp_path / "slices.npz", "a", "b")
