"""NRRD and MetaImage files: placed as ITK places them, or refused in one line."""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path

import itk
import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.volumes import read_geometry, read_volume

VOXELS = np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 5 4 3
space directions: (2,0,0.1) (0,1.5,0) (-0.1,0,2.5)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (1,2,3)
"""
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 0.8 0.6 0 -0.6 0.8 0 0 0 1
Offset = 1 2 3
ElementSpacing = 2 1.5 2.5
DimSize = 5 4 3
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""


def write(path: Path, header: str, data: bytes = VOXELS.tobytes(order="F")) -> Path:
    path.write_bytes(header.encode() + (b"\n" if path.suffix == ".nrrd" else b"") + data)
    return path


def by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels ``(D, H, W)`` and the affine in RAS."""
    image = itk.imread(str(path))
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return np.array(itk.array_view_from_image(image)).T, LPS @ affine


def refusal(path: Path, labels: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        read_volume(path, labels)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line
    return line


@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "right-anterior-superior", "LAS", "lps", None])
def test_space_of_a_nrrd(tmp_path: Path, space: str | None) -> None:
    header = NRRD.replace("space: left-posterior-superior", f"space: {space}" if space else "space dimension: 3")
    path = write(tmp_path / "a.nrrd", header)
    voxels, affine = by_itk(path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels[0], voxels)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    np.testing.assert_allclose(read_geometry(path).affine, affine, atol=1e-9)


@pytest.mark.parametrize(
    ("units", "factor"),
    [('"mm" "mm" "mm"', 1), ('"um" "um" "um"', 1e-3), ('"µm" "µm" "µm"', 1e-3), ('"cm" "cm" "cm"', 10)],
)
def test_units_of_a_nrrd(tmp_path: Path, units: str, factor: float) -> None:
    plain = read_geometry(write(tmp_path / "a.nrrd", NRRD)).affine
    told = read_geometry(write(tmp_path / "b.nrrd", NRRD + f"space units: {units}\n")).affine
    np.testing.assert_allclose(told[:3], plain[:3] * factor)


def test_axes_of_a_metaimage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mha", META)
    voxels, affine = by_itk(path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels[0], voxels)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    in_um = read_volume(write(tmp_path / "b.mha", META.replace("DimSize", "DistanceUnits = um\nDimSize")))
    np.testing.assert_allclose(in_um.affine[:3], affine[:3] * 1e-3)


def test_what_is_assumed_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    without = "\n".join(line for line in META.split("\n") if not line.startswith("TransformMatrix"))
    with caplog.at_level(logging.WARNING):
        read_geometry(write(tmp_path / "a.mha", without))
        read_geometry(write(tmp_path / "a.mha", without))
        read_geometry(write(tmp_path / "b.mha", META))
    assert [message.split(": ")[1][:21] for message in caplog.messages] == ["has no TransformMatri"]


@pytest.mark.parametrize(("extension", "header"), [("nrrd", NRRD), ("mha", META)])
@pytest.mark.parametrize("big", [False, True])
def test_byte_order(tmp_path: Path, extension: str, header: str, big: bool) -> None:
    header = header.replace("endian: little", "endian: big").replace("MSB = False", "MSB = True") if big else header
    data = VOXELS.astype(">i2" if big else "<i2").tobytes(order="F")
    np.testing.assert_array_equal(read_volume(write(tmp_path / f"a.{extension}", header, data)).voxels[0], VOXELS)


def test_compressed_voxels_are_read_to_their_checksum(tmp_path: Path) -> None:
    plain = VOXELS.tobytes(order="F")
    packed = f"CompressedData = True\nCompressedDataSize = {len(zlib.compress(plain))}"
    files = {
        "nrrd": (NRRD.replace("encoding: raw", "encoding: gzip"), gzip.compress(plain)),
        "mha": (META.replace("CompressedData = False", packed), zlib.compress(plain)),
    }
    for extension, (header, data) in files.items():
        path = write(tmp_path / f"a.{extension}", header, data)
        np.testing.assert_array_equal(read_volume(path).voxels[0], VOXELS)
        np.testing.assert_array_equal(read_volume(path).voxels[0], by_itk(path)[0])
        wrong = bytearray(data)
        wrong[-6 if extension == "nrrd" else -2] ^= 1
        for damaged in (bytes(wrong), data[:-1], data[: len(data) // 2], data + b"garbage"):
            assert "cannot be read as an image" in refusal(write(path, header, damaged))
    bomb = write(tmp_path / "a.mha", files["mha"][0], zlib.compress(bytes(10**7)))
    assert "more bytes than its header says" in refusal(bomb)


@pytest.mark.parametrize("extension", ["nhdr", "mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_detached_voxels(tmp_path: Path, extension: str, compressed: bool) -> None:
    image = itk.image_from_array(np.ascontiguousarray(VOXELS.T))
    image.SetSpacing([1, 2, 3])
    itk.imwrite(image, str(tmp_path / f"a.{extension}"), compression=compressed)
    volume = read_volume(tmp_path / f"a.{extension}")
    np.testing.assert_array_equal(volume.voxels[0], VOXELS)
    np.testing.assert_allclose(volume.affine, np.diag([-1, -2, 3, 1]))
    (data,) = (file for file in tmp_path.iterdir() if file.name != f"a.{extension}")
    data.write_bytes(data.read_bytes()[:-1])
    assert "cannot be read as an image" in refusal(tmp_path / f"a.{extension}")
    data.unlink()
    assert "its file of voxels is missing" in refusal(tmp_path / f"a.{extension}")


TYPES = {
    "i1": ("int8", "CHAR"), "u1": ("uchar", "UCHAR"), "i2": ("short", "SHORT"), "u2": ("unsigned short", "USHORT"),
    "i4": ("int", "INT"), "u4": ("uint32_t", "UINT"), "i8": ("long long int", "LONG_LONG"),
    "u8": ("unsigned long long", "ULONG_LONG"), "f4": ("float", "FLOAT"), "f8": ("double", "DOUBLE"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("extension", ["nrrd", "mha"])
def test_labels_of_every_type_stay_what_they_are(tmp_path: Path, kind: str, extension: str) -> None:
    voxels = VOXELS.astype(kind)
    if kind[0] != "f":
        voxels[0, 0, :2] = np.iinfo(kind).max, np.iinfo(kind).min
    nrrd, meta = TYPES[kind]
    header = {"nrrd": NRRD.replace("short", nrrd), "mha": META.replace("MET_SHORT", f"MET_{meta}")}[extension]
    path = write(tmp_path / f"a.{extension}", header, voxels.tobytes(order="F"))
    read = read_volume(path, labels=True).voxels
    np.testing.assert_array_equal(read[0], voxels)
    assert read.dtype == (np.int64 if kind[0] == "f" else np.dtype(kind))
    if kind not in ("i1", "u8", "i8"):  # Python's ITK has these not
        np.testing.assert_array_equal(read[0], by_itk(path)[0])


NRRD_REFUSED = [
    ("sizes: 5 4 3", "sizes: 5 4 300", "truncated"),
    ("sizes: 5 4 3", "sizes: 5 4 2", "more bytes"),
    ("sizes: 5 4 3", "sizes: 20000 20000 20000", "memory"),
    ("sizes: 5 4 3", "sizes: 99999999999 2 2", "memory"),
    ("sizes: 5 4 3", "sizes: 0 4 3", "0 x 4 x 3 voxels"),
    ("sizes: 5 4 3", "sizes: -5 4 3", "-5 x 4 x 3 voxels"),
    ("sizes: 5 4 3", "sizes: 5 4", "sizes and dimension disagree"),
    ("dimension: 3", "dimension: 17", "sizes and dimension disagree"),
    ("(2,0,0.1)", "(0,0,0)", "spacing"),
    ("(2,0,0.1)", "(nan,0,0)", "NaN"),
    ("(2,0,0.1)", "(1e300,0,0)", "spacing"),
    ("(2,0,0.1)", "(0,1.5,0)", "in one plane"),
    ("(2,0,0.1)", "none", "2D"),
    ("(2,0,0.1)", "(2,0)", "cannot be read as an image"),
    ("(2,0,0.1)", "(2,zero,0)", "cannot be read as an image"),
    ("space directions: (2,0,0.1) (0,1.5,0) (-0.1,0,2.5)\n", "", "no spacings in its header"),
    ("space origin: (1,2,3)", "space origin: (nan,2,3)", "NaN"),
    ("left-posterior-superior", "scanner-xyz", "left and right"),
    ("left-posterior-superior", "3D-right-handed", "left and right"),
    ("left-posterior-superior", "left-posterior-superior-time", "left and right"),
    ("type: short", "type: block", "type 'block'"),
    ("type: short", "type: double", "truncated"),
    ("endian: little", "endian: middle", "endian"),
    ("endian: little\n", "", "endian"),
    ("encoding: raw", "encoding: hex", "encoding 'hex'"),
    ("encoding: raw", "encoding: gzip", "cannot be read as an image"),
    ("encoding: raw", "encoding: raw\ndata file: /etc/passwd", "outside of its folder"),
    ("encoding: raw", "encoding: raw\ndata file: ../a.raw", "outside of its folder"),
    ("encoding: raw", "encoding: raw\ndata file: LIST", "several files"),
    ("encoding: raw", "encoding: raw\nbyte skip: 999999", "truncated"),
    ("encoding: raw", "encoding: raw\nbyte skip: -2", "byte skip"),
    ("kinds: domain", "kinds: RGB-color", "2D"),
    ("kinds: domain domain domain", "kinds: domain domain", "kinds"),
    ("space:", "spice:", "spice"),
    ("space origin", 'space units: "mm" "mm" "cm"\nspace origin', "units"),
    ("space origin", 'space units: ""mm" ""mm" ""mm""\nspace origin', "units"),
    ("space origin", 'space units: "ell" "ell" "ell"\nspace origin', "units"),
    ("NRRD0004", "NRRD0009", "no NRRD file"),
    ("type: short", "type: short\ntype: short", "type: short"),
]
META_REFUSED = [
    ("DimSize = 5 4 3", "DimSize = 5 4 300", "truncated"),
    ("DimSize = 5 4 3", "DimSize = 5 4 2", "more bytes"),
    ("DimSize = 5 4 3", "DimSize = 20000 20000 20000", "memory"),
    ("DimSize = 5 4 3", "DimSize = 0 4 3", "0 x 4 x 3 voxels"),
    ("DimSize = 5 4 3", "DimSize = 5 4", "DimSize and NDims disagree"),
    ("NDims = 3", "NDims = 2", "DimSize and NDims disagree"),
    ("TransformMatrix = 0.8 0.6 0", "TransformMatrix = 0 0 0", "spacing"),
    ("TransformMatrix = 0.8 0.6 0", "TransformMatrix = nan 0.6 0", "NaN"),
    ("TransformMatrix = 0.8 0.6 0", "TransformMatrix = 1.6 1.2 0", "unit vectors"),
    ("TransformMatrix = 0.8 0.6 0", "TransformMatrix = 0.8 0.6", "8 numbers, not 9"),
    ("ElementSpacing = 2", "ElementSpacing = 0", "spacing"),
    ("ElementSpacing = 2", "ElementSpacing = -2", "spacing"),
    ("ElementSpacing = 2", "ElementSpacing = nan", "spacing"),
    ("ElementSpacing = 2", "ElementSpacing = 1e30", "spacing"),
    ("ElementSpacing = 2", "ElementSpacing = 1e-30", "spacing"),
    ("ElementSpacing = 2 1.5 2.5\n", "", "no ElementSize"),
    ("Offset = 1", "Offset = nan", "NaN"),
    ("MET_SHORT", "MET_NONSENSE", "MET_NONSENSE"),
    ("MET_SHORT", "MET_DOUBLE", "truncated"),
    ("= LOCAL", "= /etc/passwd", "outside of its folder"),
    ("= LOCAL", "= ../../etc/passwd", "outside of its folder"),
    ("= LOCAL", "= slice%03d.raw 1 3 1", "several files"),
    ("= LOCAL", "= LIST", "several files"),
    ("DimSize", "ElementNumberOfChannels = 3\nDimSize", "truncated"),
    ("DimSize", "DistanceUnits = ell\nDimSize", "DistanceUnits"),
    ("BinaryData = True", "BinaryData = False", "binary"),
    ("BinaryData = True", "BinaryData = Trwe", "BinaryData"),
    ("CompressedData = False", "CompressedData = True", "cannot be read as an image"),
    ("ElementDataFile", "Nothing", "no MetaImage|line"),
    ("ObjectType = Image", "ObjectType = Tube", "no image"),
]


@pytest.mark.parametrize(("old", "new", "word"), NRRD_REFUSED)
def test_a_nrrd_header_that_is_wrong_is_refused_in_one_line(tmp_path: Path, old: str, new: str, word: str) -> None:
    assert old in NRRD
    with pytest.raises(UserError, match=word):
        read_volume(write(tmp_path / "a.nrrd", NRRD.replace(old, new, 1)))


@pytest.mark.parametrize(("old", "new", "word"), META_REFUSED)
def test_a_metaimage_header_that_is_wrong_is_refused_in_one_line(tmp_path: Path, old: str, new: str, word: str) -> None:
    assert old in META
    with pytest.raises(UserError, match=word):
        read_volume(write(tmp_path / "a.mha", META.replace(old, new, 1)))


def test_layers_of_a_mask_are_channels_and_colors_no_scan(tmp_path: Path) -> None:
    voxels = np.stack([VOXELS, VOXELS + 1, VOXELS + 2]).astype(np.uint8)
    for name in ("a.nrrd", "a.mha"):
        itk.imwrite(itk.image_from_array(np.ascontiguousarray(voxels.T), is_vector=True), str(tmp_path / name))
        np.testing.assert_array_equal(read_volume(tmp_path / name, labels=True).voxels, voxels)
        assert "colors" in refusal(tmp_path / name)
