"""Files with wrong or odd headers: NIfTI, NRRD, MHA and DICOM, the same ones for the same seed."""

from __future__ import annotations

import gzip
import random
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pydicom
from conemos_bundle.hosts.deploy.make_series import write_series
from pydicom import dcmread

VOXELS = np.random.default_rng(0).integers(1, 500, (20, 18, 16)).astype(np.int16)
AFFINE = np.array([[2, 0.1, 0, -20], [-0.1, 2, 0, -18], [0, 0, 2.5, -16], [0, 0, 0, 1.0]])
Case = tuple[str, Path]

_FIELDS = {  # of a NIfTI-1 header: place and type
    "sizeof": (0, "<i"), "dim": (40, "<8h"), "dtype": (70, "<h"), "bitpix": (72, "<h"), "pixdim": (76, "<8f"),
    "vox": (108, "<f"), "slope": (112, "<f"), "inter": (116, "<f"), "units": (123, "<B"), "qcode": (252, "<h"),
    "scode": (254, "<h"), "quatern": (256, "<6f"), "srow": (280, "<12f"), "magic": (344, "4s"),
}  # fmt: skip
_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64, 1536: 128}


def _good() -> bytes:
    image = nibabel.Nifti1Image(VOXELS, AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 1)
    return bytes(image.to_bytes())


def _with(content: bytes, **fields: Any) -> bytes:
    changed = bytearray(content)
    for field, values in fields.items():
        place, kind = _FIELDS[field]
        struct.pack_into(kind, changed, place, *(values if isinstance(values, list | tuple) else [values]))
    return bytes(changed)


def _matrices() -> dict[str, np.ndarray]:
    def changed(change: Callable[[np.ndarray], Any]) -> np.ndarray:
        matrix = AFFINE.copy()
        change(matrix)
        return matrix

    return {
        "nan": changed(lambda m: m.__setitem__((0, 0), np.nan)),
        "nan place": changed(lambda m: m.__setitem__((0, 3), np.nan)),
        "infinite": changed(lambda m: m.__setitem__((0, 0), np.inf)),
        "infinite place": changed(lambda m: m.__setitem__((0, 3), np.inf)),
        "zero": changed(lambda m: m.__setitem__((slice(3), slice(3)), 0)),
        "singular": changed(lambda m: m.__setitem__(2, m[1])),
        "zero column": changed(lambda m: m.__setitem__((slice(3), 2), 0)),
        "sheared": changed(lambda m: m.__setitem__((0, 1), 1.9)),
        "nearly singular": changed(lambda m: m.__setitem__((slice(3), 1), m[:3, 0] * 1.0001)),
        "in micrometers": changed(lambda m: m.__setitem__(slice(3), m[:3] * 1000)),
        "in meters": changed(lambda m: m.__setitem__(slice(3), m[:3] / 1000)),
        "tiny": changed(lambda m: m.__setitem__(slice(3), m[:3] * 1e-12)),
        "huge": changed(lambda m: m.__setitem__(slice(3), m[:3] * 1e12)),
        "far": changed(lambda m: m.__setitem__((slice(3), 3), 1e20)),
        "mirrored": changed(lambda m: m.__setitem__((slice(3), 0), -m[:3, 0])),
        "permuted": AFFINE[:, [2, 0, 1, 3]],
        "flat voxels": np.diag([0.01, 0.01, 50, 1.0]),
    }


def _nifti_contents() -> Iterator[tuple[str, bytes]]:
    good = _good()
    sizes = [[0] * 8, [3, 20, 18, 16, 0, 0, 0, 0], [3, 32767, 32767, 32767, 1, 1, 1, 1], [3, 20, 18, -16, 1, 1, 1, 1]]
    sizes += [[3, 20, 18, 0, 1, 1, 1, 1], [7, 20, 18, 16, 1, 1, 1, 1], [8, 20, 18, 16, 1, 1, 1, 1]]
    sizes += [[-1, 20, 18, 16, 1, 1, 1, 1], [3, 20, 18, 15, 1, 1, 1, 1], [3, 20, 18, 17, 1, 1, 1, 1]]
    sizes += [[2, 20, 288, 1, 1, 1, 1, 1], [4, 20, 18, 16, 1, 1, 1, 1], [4, 10, 18, 16, 2, 1, 1, 1]]
    sizes += [[5, 20, 18, 4, 1, 4, 1, 1], [3, 1000, 1000, 1000, 1, 1, 1, 1], [3, 2, 2, 1440, 1, 1, 1, 1]]
    for size in sizes:
        yield f"dim {size}", _with(good, dim=size)
    pixdim = list(struct.unpack_from("<8f", good, 76))
    for name, value in (("0", 0.0), ("nan", np.nan), ("-2", -2.0), ("inf", np.inf), ("1e30", 1e30), ("1e-30", 1e-30),
                        ("1e6", 1e6), ("1e-3", 1e-3)):  # fmt: skip
        for axis in (0, 1, 3):
            wrong = [*pixdim[:axis], value, *pixdim[axis + 1 :]]
            yield f"pixdim[{axis}] {name}, qform", _with(good, pixdim=wrong, scode=0)
        wrong = [pixdim[0], value, *pixdim[2:]]
        yield f"pixdim[1] {name}, both forms", _with(good, pixdim=wrong)
        yield f"pixdim[1] {name}, no form", _with(good, pixdim=wrong, scode=0, qcode=0)
    for name, matrix in _matrices().items():
        rows = [float(x) for x in matrix[:3].ravel()]
        yield f"sform {name}", _with(good, srow=rows)
        yield f"sform {name}, no qform", _with(good, srow=rows, qcode=0)
    for unit in (0, 1, 2, 3, 4, 7, 10, 255):
        yield f"units {unit}", _with(good, units=unit)
    for code in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 2304, -1, 9999):
        yield f"data type {code}", _with(good, dtype=code, bitpix=_BITS.get(code, 16))
    for kind in (np.uint8, np.int32, np.float32, np.float64, np.int8, np.uint16, np.uint32, np.int64, np.uint64):
        image = nibabel.Nifti1Image((VOXELS // 8).astype(kind), AFFINE, dtype=kind)
        yield f"written as {np.dtype(kind)}", bytes(image.to_bytes())
    yield "big endian", bytes(nibabel.Nifti1Image(VOXELS, AFFINE, nibabel.Nifti1Header(endianness=">")).to_bytes())
    yield "bits 8", _with(good, bitpix=8)
    for offset in (0, 100, 348, 351, 353, 356, 1e9, -5, np.nan, np.inf, 5000):
        yield f"voxels at {offset}", _with(good, vox=offset)
    for slope, inter in ((0, 5), (np.nan, 0), (1, np.nan), (np.inf, 0), (3e38, 3e38), (1e-38, 0), (-1, 0), (2, 7)):
        yield f"slope {slope} intercept {inter}", _with(good, slope=slope, inter=inter)
    for magic in (b"ni1\0", b"n+2\0", b"\0\0\0\0", b"abcd"):
        yield f"magic {magic!r}", _with(good, magic=magic)
    for size in (0, -1, 540, 349, 1543569408):
        yield f"header size {size}", _with(good, sizeof=size)
    for quatern in ([2, 0, 0, 0, 0, 0], [np.nan] * 6, [0.9, 0.9, 0.9, 0, 0, 0], [0, 0, 0, 1e30, 0, 0]):
        yield f"quaternion {quatern}", _with(good, quatern=quatern, scode=0)
    for size in (2**30, -16, 0):
        yield f"extension of {size}", good[:348] + b"\1\0\0\0" + struct.pack("<ii", size, 6) + good[352:]


def nifti_files(folder: Path, seed: int = 0) -> Iterator[Case]:
    """NIfTI files: fields of the header, single bytes of it, bits of the gzip stream, cut and with a tail."""
    draw = random.Random(seed)
    for index, (label, content) in enumerate(_nifti_contents()):
        yield f"nifti {label}", _write(folder / f"f{index:03d}.nii", content)
    good, packed = _good(), gzip.compress(_good(), 6)
    for index in range(24):
        changed = bytearray(good)
        for _ in range(draw.choice([1, 2, 4, 16])):
            changed[draw.randrange(348)] = draw.randrange(256)
        yield f"nifti header bytes {index}", _write(folder / f"h{index}.nii", bytes(changed))
    for index in range(24):
        changed = bytearray(packed)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        yield f"nifti gzip bit {index}", _write(folder / f"g{index}.nii.gz", bytes(changed))
    for index, cut in enumerate((1, 4, 8, len(packed) // 2, len(packed) - 5)):
        yield f"nifti gzip cut by {cut}", _write(folder / f"t{index}.nii.gz", packed[:-cut])
    yield "nifti gzip with a tail", _write(folder / "tail.nii.gz", packed + b"garbage" * 50)
    yield "nifti cut by a voxel", _write(folder / "short.nii", good[:-2])
    yield "nifti gzip named .nii", _write(folder / "packed.nii", packed)
    yield "nifti plain named .nii.gz", _write(folder / "plain.nii.gz", good)


_NRRD = [
    *[("sizes: .*", f"sizes: {x}") for x in ("20 18 1600", "2000 2000 2000", "0 18 16", "-20 18 16", "20 18")],
    *[
        ("space directions: .*", f"space directions: {x}")
        for x in ("(0,0,0) (0,2,0) (0,0,2.5)", "(nan,0,0) (0,2,0) (0,0,2.5)", "(2,0,0) (2,0,0) (0,0,2.5)",
                  "(1e300,0,0) (0,2,0) (0,0,2.5)", "(-2,0,0) (0,2,0) (0,0,2.5)", "none (0,2,0) (0,0,2.5)",
                  "(0,2,0) (2,0,0) (0,0,2.5)", "(1e-30,0,0) (0,2,0) (0,0,2.5)")
    ],
    ("space origin: .*", "space origin: (nan,0,0)"),
    *[("space: .*", f"space: {x}") for x in ("right-anterior-superior", "scanner-xyz", "nowhere")],
    *[("type: .*", f"type: {x}") for x in ("double", "block", "unsigned long long int")],
    *[("encoding: .*", f"encoding: {x}") for x in ("gzip", "hex", "bzip2")],
    ("endian: .*", "endian: big"),
    ("dimension: .*", "dimension: 17"),
    ("kinds: .*", "kinds: RGB-color domain domain"),
    *[("encoding: .*", f"encoding: raw\n{x}") for x in ("data file: /etc/passwd", "data file: ../x.raw",
                                                          "byte skip: -1", "byte skip: 999999")],
]  # fmt: skip
_MHA = [
    *[("DimSize = .*", f"DimSize = {x}") for x in ("20 18 1600", "2000 2000 2000", "0 18 16", "-20 18 16", "20 18")],
    *[
        ("TransformMatrix = .*", f"TransformMatrix = {x}")
        for x in ("0 0 0 0 0 0 0 0 0", "nan 0 0 0 1 0 0 0 1", "1 0 0 1 0 0 0 0 1", "0 1 0 1 0 0 0 0 1",
                  "-1 0 0 0 1 0 0 0 1")
    ],
    *[("ElementSpacing = .*", f"ElementSpacing = {x} 2 2") for x in ("0", "-2", "nan", "1e30", "1e-30")],
    ("Offset = .*", "Offset = nan 0 0"),
    *[("ElementType = .*", f"ElementType = {x}") for x in ("MET_DOUBLE", "MET_ULONG_LONG", "MET_NONSENSE")],
    *[("ElementDataFile = .*", f"ElementDataFile = {x}") for x in ("/etc/passwd", "../../etc/passwd")],
    ("NDims = .*", "NDims = 2"),
    ("NDims = .*", "NDims = 11"),
    ("BinaryDataByteOrderMSB = .*", "BinaryDataByteOrderMSB = True"),
    ("CompressedData = .*", "CompressedData = True"),
]  # fmt: skip


def itk_files(folder: Path, seed: int = 0) -> Iterator[Case]:
    """NRRD and MHA files: fields of the header, single bytes of it, bits of the compressed voxels, cut."""
    draw = random.Random(seed)
    image = itk.image_from_array(np.ascontiguousarray(VOXELS.T))
    image.SetSpacing([2, 2, 2.5])
    image.SetOrigin([1, 2, 3])
    for extension, changes in (("nrrd", _NRRD), ("mha", _MHA)):
        file = folder / f"base.{extension}"
        contents = []
        for compression in (False, True):
            itk.imwrite(image, str(file), compression=compression)
            contents.append(file.read_bytes())
        file.unlink()
        plain, packed = contents
        end = plain.index(b"\n\n") + 2 if extension == "nrrd" else plain.index(b"LOCAL\n") + 6
        header, voxels = plain[:end], plain[end:]
        made = [("as it is", plain), ("compressed", packed)]
        for pattern, text in changes:
            made.append(
                (text.replace("\n", "; "), re.sub(pattern.encode(), lambda _, t=text: t.encode(), header) + voxels)
            )
        for index in range(12):
            changed = bytearray(header)
            for _ in range(draw.choice([1, 2, 4])):
                changed[draw.randrange(len(changed))] = draw.randrange(256)
            made.append((f"header bytes {index}", bytes(changed) + voxels))
        for index in range(6):
            changed = bytearray(packed)
            changed[draw.randrange(len(packed) // 2, len(packed))] ^= 1 << draw.randrange(8)
            made.append((f"bit {index}", bytes(changed)))
        made += [(f"cut by {cut}", plain[:-cut]) for cut in (1, 100, len(voxels), len(plain) - 10)]
        for index, (label, content) in enumerate(made):
            yield f"{extension} {label}", _write(folder / f"i{index:03d}.{extension}", content)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


_TAGS: list[tuple[str, list[Any]]] = [
    ("PixelSpacing", [[0, 2], [-2, 2], [1e9, 2], [2, 2, 2], [2], "", None]),
    ("ImageOrientationPatient", [[0] * 6, [1, 0, 0, 1, 0, 0], [1, 0, 0, 0.5, 0.9, 0], [2, 0, 0, 0, 2, 0], [1], None]),
    ("ImagePositionPatient", [["nan", 0, 0], [0, 0], "", None]),
    ("SliceThickness", [0, -1, 1e9, None]),
    ("Rows", [0, 17, 19, None]),
    ("Columns", [0, 21, None]),
    ("BitsAllocated", [8, 32, 12, 0]),
    ("BitsStored", [0, 17]),
    ("PixelRepresentation", [1, 2]),
    ("SamplesPerPixel", [3, 0]),
    ("PhotometricInterpretation", ["MONOCHROME1", "RGB", "PALETTE COLOR", "XX"]),
    ("NumberOfFrames", [0, 2, -1, 100000]),
    ("RescaleSlope", [0, 2.5, -1, 1e300]),
    ("Modality", ["SEG", "CT", None]),
    ("SeriesInstanceUID", [None, "", "../../x", "%s%n"]),
    ("SeriesDescription", ["../../../etc", "$__import__('os')"]),
    ("SOPClassUID", ["1.2.840.10008.5.1.4.1.1.66.4", None]),
]  # fmt: skip


def _set(name: str, value: Any, only: int | None = None) -> Callable[[pydicom.Dataset, int], Any]:
    def change(image: pydicom.Dataset, index: int) -> None:
        if only not in (None, index):
            return
        if value is None:
            image.pop(name, None)
        else:
            setattr(image, name, value)

    return change


def _series_changes() -> Iterator[tuple[str, Callable[[pydicom.Dataset, int], Any]]]:
    def place(where: Callable[[int], list[float]]) -> Callable[[pydicom.Dataset, int], Any]:
        return lambda image, index: setattr(image, "ImagePositionPatient", where(index))

    for name, values in _TAGS:
        for value in values:
            yield f"{name} {value!r}", _set(name, value)
            if name in ("PixelSpacing", "ImageOrientationPatient", "Rows", "RescaleSlope", "BitsAllocated"):
                yield f"{name} {value!r} in one slice", _set(name, value, 3)
    yield "as it is", lambda image, index: None
    yield "slice missing", lambda image, index: index != 4
    yield "two at one place", place(lambda k: [0, 0, 2.5 * (4 if k == 5 else k)])
    yield "all at one place", place(lambda k: [0, 0, 0])
    yield "unequal distances", place(lambda k: [0, 0, 2.5 * k + (k > 3)])
    yield "tilted gantry", place(lambda k: [0, 0.8 * k, 2.5 * k])
    yield "other way round", place(lambda k: [0, 0, -2.5 * k])
    yield "two patients", lambda image, index: setattr(image, "PatientID", str(index % 2))
    yield "one truncated", lambda image, index: index == 3 and setattr(image, "PixelData", image.PixelData[:-100])
    yield "one without pixels", lambda image, index: index == 3 and image.pop("PixelData", None) and None
    yield (
        "another orientation",
        lambda image, index: setattr(image, "ImageOrientationPatient", [0, 1, 0, 0, 0, 1]) if index == 7 else None,
    )


def dicom_folders(folder: Path, seed: int = 0) -> Iterator[Case]:
    """Series of 8 slices: tags of all or of one slice, places, single bytes of a file, cut files."""
    draw = random.Random(seed)
    settings = pydicom.config.settings
    before = settings.writing_validation_mode
    settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        good = folder / "good"
        write_series(good, VOXELS[..., :8], np.diag([-2.0, -2.0, 2.5, 1.0]))
        images = [dcmread(good / f"{index}.dcm") for index in range(8)]
        for number, (label, change) in enumerate(_series_changes()):
            series = folder / f"d{number:03d}"
            series.mkdir()
            for index, image in enumerate(images):
                changed = dcmread(good / f"{index}.dcm") if image else image
                if change(changed, index) is not False:
                    changed.save_as(series / f"{index}.dcm", enforce_file_format=False)
            yield f"dicom {label}", series
        content = (good / "3.dcm").read_bytes()
        pixels = len(images[3].PixelData)
        for number in range(24):
            changed_bytes = bytearray(content)
            for _ in range(draw.choice([1, 3, 8])):
                changed_bytes[draw.randrange(128, len(content) - pixels)] = draw.randrange(256)
            yield f"dicom bytes {number}", _copy(good, folder / f"b{number}", bytes(changed_bytes))
        for number, cut in enumerate((1, pixels // 2, pixels, len(content) - 140, len(content))):
            yield f"dicom file cut by {cut}", _copy(good, folder / f"c{number}", content[: len(content) - cut])
    finally:
        settings.writing_validation_mode = before


def _copy(good: Path, series: Path, third: bytes) -> Path:
    series.mkdir()
    for file in good.iterdir():
        (series / file.name).write_bytes(third if file.name == "3.dcm" else file.read_bytes())
    return series
