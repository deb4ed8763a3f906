"""NIfTI headers and streams: what nibabel says is what is read, or one line."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.volumes import read_geometry, read_volume, save_mask

VOXELS = np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3)
AFFINE = np.array([[2, 0.1, 0, -20], [-0.1, 2, 0, -18], [0, 0, 2.5, -16], [0, 0, 0, 1]])


def image_with(voxels: np.ndarray = VOXELS, sform_code: int = 1, qform_code: int = 1) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(voxels, AFFINE)
    image.set_qform(AFFINE, qform_code)
    image.set_sform(AFFINE, sform_code)
    image.header.set_xyzt_units("mm")
    return image


def edited(path: Path, **fields: object) -> Path:
    """A file whose header has these fields."""
    image = image_with()
    block = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header(bytes(block[:348]))
    for name, value in fields.items():
        header[name] = value
    block[:348] = header.binaryblock
    path.write_bytes(bytes(block))
    return path


def refusal(path: Path, labels: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        read_volume(path, labels)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line
    return line


@pytest.mark.parametrize(("sform_code", "qform_code"), [(1, 1), (4, 1), (2, 0), (0, 1), (1, 4), (0, 0)])
def test_the_affine_is_nibabels(tmp_path: Path, sform_code: int, qform_code: int) -> None:
    image = image_with(sform_code=sform_code, qform_code=qform_code)
    shifted = AFFINE.copy()
    shifted[:3, 3] += [12, -7, 5]
    image.header.set_sform(shifted, sform_code)
    image.header["sform_code"] = sform_code
    image = nibabel.Nifti1Image(VOXELS, None, image.header)
    image.to_filename(tmp_path / "a.nii.gz")
    want = nibabel.load(tmp_path / "a.nii.gz").affine
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.affine, want, atol=1e-6)
    np.testing.assert_allclose(read_geometry(tmp_path / "a.nii.gz").affine, want, atol=1e-6)
    np.testing.assert_array_equal(volume.voxels, VOXELS[None])
    assert volume.voxels.dtype == np.float32


def test_disagreeing_forms_are_one_warning_per_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    edited(tmp_path / "forms.nii", qoffset_x=0.0)
    edited(tmp_path / "pixdim.nii", pixdim=[1, 3, 2, 2.5, 0, 0, 0, 0], qform_code=0)
    edited(tmp_path / "none.nii", sform_code=0, qform_code=0)
    image_with().to_filename(tmp_path / "good.nii")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for name in ("forms", "pixdim", "none", "good"):
                read_volume(tmp_path / f"{name}.nii")
    lines = [record.getMessage() for record in caplog.records]
    words = ["sform and qform disagree, by up to 20", "pixdim says voxels of 3 x 2 x 2.5", "neither sform nor qform"]
    assert len(lines) == 3
    for line, name, word in zip(lines, ("forms", "pixdim", "none"), words, strict=True):
        assert line.startswith(str(tmp_path / f"{name}.nii")) and word in line and "\n" not in line


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 1e-3)])
def test_units_become_mm(tmp_path: Path, unit: int, factor: float) -> None:
    rows = np.diag([1.0 / factor, 2.0 / factor, 3.0 / factor])
    fields = {f"srow_{axis}": [*rows[i], 0] for i, axis in enumerate("xyz")}
    path = edited(tmp_path / "a.nii", xyzt_units=unit, qform_code=0, pixdim=[1, *rows.diagonal(), 0, 0, 0, 0], **fields)
    np.testing.assert_allclose(read_volume(path).affine, np.diag([1, 2, 3, 1]), rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"srow_x": [np.nan, 0, 0, 0]}, "NaN or infinite"),
        ({"srow_x": [2, 0, 0, np.inf]}, "NaN or infinite"),
        ({"srow_x": [0, 0, 0, 0]}, "in one plane"),
        ({"srow_y": [2, 0.1, 0, 0]}, "in one plane"),
        ({"srow_z": [0, 0, 1e6, 0]}, "spacing of 2.002 x 2.002 x 1e+06 mm"),
        ({"srow_z": [0, 0, 1e-30, 0]}, "spacing"),
        ({"srow_x": [2, 0.1, 0, 1e20]}, "origin"),
        ({"xyzt_units": 7}, "unit of length"),
        ({"xyzt_units": 255}, "unit of length"),
        ({"sform_code": -1}, "sform_code -1"),
        ({"qform_code": 9999}, "qform_code 9999"),
        ({"sform_code": 0, "quatern_b": np.nan}, "NaN"),
        ({"sform_code": 0, "quatern_b": 0.9, "quatern_c": 0.9}, "cannot be read as an image"),
        ({"sform_code": 0, "pixdim": [1, 0, 2, 2, 0, 0, 0, 0]}, "spacing"),
        ({"sform_code": 0, "qform_code": 0, "pixdim": [1, np.nan, 2, 2, 0, 0, 0, 0]}, "NaN"),
        ({"sform_code": 0, "pixdim": [5, 2, 2, 2, 0, 0, 0, 0]}, "cannot be read as an image"),
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "memory"),
        ({"dim": [3, 500, 500, 500, 1, 1, 1, 1]}, "truncated"),
        ({"dim": [3, 5, 4, 4, 1, 1, 1, 1]}, "truncated"),
        ({"dim": [3, 5, 4, 2, 1, 1, 1, 1]}, "more bytes than its header says"),
        ({"dim": [3, 5, 4, 0, 1, 1, 1, 1]}, "5 x 4 x 0 voxels"),
        ({"dim": [3, 5, 4, -3, 1, 1, 1, 1]}, "5 x 4 x -3 voxels"),
        ({"dim": [0] * 8}, "0 dimensions"),
        ({"dim": [-1] * 8}, "dimensions"),
        ({"dim": [2, 5, 12, 1, 1, 1, 1, 1]}, "2D"),
        ({"datatype": 999}, "cannot be read as an image"),
        ({"datatype": 0}, "colors"),
        ({"vox_offset": np.nan}, "byte nan"),
        ({"vox_offset": 100}, "byte 100"),
        ({"vox_offset": 5000}, "truncated"),
        ({"vox_offset": 352.5}, "byte 352.5"),
        ({"scl_slope": np.inf}, "infinite scl_slope"),
        ({"scl_slope": 1, "scl_inter": np.nan}, "cannot be read as an image"),
        ({"magic": b"n+9"}, "magic"),
        ({"magic": b"ni1"}, "magic"),
        ({"sizeof_hdr": 349}, "no NIfTI file"),
    ],
)
def test_absurd_headers_are_refused_in_one_line(tmp_path: Path, fields: dict[str, object], word: str) -> None:
    assert word in refusal(edited(tmp_path / "a.nii", **fields))


def test_a_file_larger_than_memory_is_refused_from_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_with(np.zeros((50, 40, 30), np.int16)).to_filename(tmp_path / "a.nii.gz")
    monkeypatch.setattr("conemos_bundle.volumes.geometry.memory_of_machine", lambda: 50 * 40 * 30 * 6 - 1)
    assert "do not fit in this machine's memory" in refusal(tmp_path / "a.nii.gz")
    monkeypatch.setattr("conemos_bundle.volumes.geometry.memory_of_machine", lambda: 50 * 40 * 30 * 6)
    assert read_volume(tmp_path / "a.nii.gz").voxels.shape == (1, 50, 40, 30)


def test_every_flipped_bit_of_a_gzip_stream_is_noticed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    packed = gzip.compress(image_with(random.integers(0, 500, (12, 12, 12), np.int16)).to_bytes(), 6)
    path, accepted = tmp_path / "a.nii.gz", 0
    for _ in range(200):
        flipped = bytearray(packed)
        flipped[random.integers(300, len(packed))] ^= 1 << random.integers(8)
        path.write_bytes(bytes(flipped))
        try:
            read_volume(path)
            accepted += 1
        except UserError:
            pass
    assert accepted == 0


def test_the_trailer_and_what_is_behind_it_count(tmp_path: Path) -> None:
    plain = image_with().to_bytes()
    packed, path = gzip.compress(plain, 6), tmp_path / "a.nii.gz"
    for damaged in (packed[:-8], packed[:-1], packed + b"garbage", gzip.compress(plain + bytes(10**6))):
        path.write_bytes(damaged)
        assert "cannot be read as an image" in refusal(path)
    path.write_bytes(gzip.compress(plain[:400]) + gzip.compress(plain[400:]))  # two members are one stream
    np.testing.assert_array_equal(read_volume(path).voxels[0], VOXELS)


def test_names_that_hide_the_compression(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(gzip.compress(image_with().to_bytes()))
    (tmp_path / "b.nii.gz").write_bytes(image_with().to_bytes())
    assert "rename it a.nii.gz" in refusal(tmp_path / "a.nii")
    assert "call it .nii" in refusal(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i2", ">u8"])
def test_labels_stay_integers_of_any_type(tmp_path: Path, kind: str) -> None:
    limits = np.iinfo(kind)
    labels = np.zeros((3, 3, 3), kind)
    labels[0, 0], labels[1, 1], labels[2, 2] = limits.max, limits.max - 1, limits.min
    header = nibabel.Nifti1Header(endianness=">" if kind[0] == ">" else "<")
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4), header, dtype=kind), tmp_path / "a.nii.gz")
    read = read_volume(tmp_path / "a.nii.gz", labels=True).voxels
    assert read.dtype == np.dtype(kind).newbyteorder("=")
    np.testing.assert_array_equal(read[0], labels)


def test_labels_stored_as_floats_are_rounded_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"

    def store(value: float, kind: str = "f4", slope: float = 1, inter: float = 0) -> Path:
        image = nibabel.Nifti1Image(np.full((3, 3, 3), value, kind), np.eye(4))
        image.header.set_slope_inter(slope, inter)
        block = bytearray(image.to_bytes())
        block[112:120] = np.array([slope, inter], "<f4").tobytes()
        path.write_bytes(bytes(block))
        return path

    for value, kind, slope, inter, label in (
        (2.0005, "f4", 1, 0, 2),
        (312782574.0, "f8", 1, 0, 312782574),
        (100001, "i4", 1000, 7, 100001007),
        (5, "u2", 1, 0, 5),
    ):
        read = read_volume(store(value, kind, slope, inter), labels=True).voxels
        assert read.dtype.kind in "iu" and (read == label).all()
    assert "has the value 2.01" in refusal(store(2.01), labels=True)
    assert "has the value 1.5" in refusal(store(3, "u1", 0.5), labels=True)
    for value in (np.nan, np.inf):
        assert "NaN or infinite" in refusal(store(value), labels=True)
    # beyond 2^24 float32 cannot tell neighbors apart: the labels have merged already
    assert (read_volume(store(2**24), labels=True).voxels == 2**24).all()
    assert "312782560 are not exact as float32" in refusal(store(312782574), labels=True)
    assert "not a" not in refusal(store(5, "i2", 1e-38), labels=True)  # all nearly 0: not one label


def test_scaling_is_computed_in_float64(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.full((3, 3, 3), 16777217, np.int32), np.eye(4))
    block = bytearray(image.to_bytes())
    block[112:120] = np.array([1.0, -16777216.0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(block))
    assert (read_volume(tmp_path / "a.nii").voxels == 1).all()


def test_nifti_2(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(VOXELS, AFFINE), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.voxels[0], VOXELS)
    np.testing.assert_allclose(volume.affine, AFFINE)
    save_mask(tmp_path / "m.nii.gz", np.ones(VOXELS.shape, np.uint8), volume.affine, volume.nifti_header)
    np.testing.assert_allclose(nibabel.load(tmp_path / "m.nii.gz").affine, AFFINE, atol=1e-6)


def test_a_mask_of_a_nifti_2_scan_has_both_forms(tmp_path: Path) -> None:
    scan = nibabel.Nifti2Image(VOXELS, AFFINE)
    moved = AFFINE.copy()
    moved[:3, 3] += 5
    scan.set_qform(moved, 1)
    scan.set_sform(AFFINE, 2)
    nibabel.save(scan, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    save_mask(tmp_path / "m.nii.gz", np.ones(VOXELS.shape, np.uint8), volume.affine, volume.nifti_header)
    header = nibabel.load(tmp_path / "m.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 2)
    np.testing.assert_allclose(header.get_qform(), scan.get_qform(), atol=1e-5)
    np.testing.assert_allclose(header.get_sform(), AFFINE, atol=1e-5)


def test_voxels_of_a_micrometer_are_compared_as_finely(tmp_path: Path) -> None:
    for name, shift in (("a", 0.0), ("b", 0.9), ("c", 1e-4)):
        image = nibabel.Nifti1Image(VOXELS, np.diag([1.0, 1, 1, 1]))
        image.affine[0, 3] = shift
        image = nibabel.Nifti1Image(VOXELS, image.affine)
        image.header.set_xyzt_units("micron")
        nibabel.save(image, tmp_path / f"{name}.nii")
    assert read_volume([tmp_path / "a.nii", tmp_path / "c.nii"]).voxels.shape[0] == 2
    with pytest.raises(UserError, match="affine"):
        read_volume([tmp_path / "a.nii", tmp_path / "b.nii"])


def test_files_as_channels_fraction_a_grid(tmp_path: Path) -> None:
    for name, shift in (("a", 0), ("b", 1e-4), ("c", 0.1)):
        affine = AFFINE.copy()
        affine[0, 3] += shift
        nibabel.save(nibabel.Nifti1Image(VOXELS, affine), tmp_path / f"{name}.nii")
    nibabel.save(nibabel.Nifti1Image(VOXELS[:4], AFFINE), tmp_path / "d.nii")
    assert read_volume([tmp_path / "a.nii", tmp_path / "b.nii"]).voxels.shape == (2, 5, 4, 3)
    assert read_geometry([tmp_path / "a.nii", tmp_path / "b.nii"]).channels == 2
    for name in ("c.nii", "d.nii"):
        with pytest.raises(UserError, match=rf"{name}: .*affine"):
            read_volume([tmp_path / "a.nii", tmp_path / name])
