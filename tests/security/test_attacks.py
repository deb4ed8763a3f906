"""What readers who attacked this package found, and no other test has."""

from __future__ import annotations

import bz2
import json
import os
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
from conemos_bundle.data.datalist import read_datalist, scan_name
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.annotations import label_values
from conemos_bundle.hosts.label.checks import checked_image
from conemos_bundle.hosts.label.requests import number
from conemos_bundle.importers.folders import from_csv
from conemos_bundle.importers.keras import read_keras_weights
from conemos_bundle.importers.nnunet import from_decathlon, from_nnunet
from conemos_bundle.runs.metadata import read_metadata
from conemos_bundle.runs.record import NetworkConfig
from conemos_bundle.utils.paths import bundle_folder
from conemos_bundle.volumes import dicom_files, read_volume
from conemos_bundle.volumes.dicom_files import series_in
from conemos_bundle.volumes.seg_nrrd import read_seg_nrrd, read_segments, write_seg_nrrd
from pydantic import ValidationError
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

MASK = np.zeros((1, 4, 4, 4), np.uint8)
MASK[0, 1:3, 1:3, 1:3] = 1


def run_in(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder, of whose modules it takes none by itself."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(bundle_folder()), *sys.path])}
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = [p for p in sys.path if p]; {code}"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


def test_modules_among_slices_are_not_run(series: Path, change: Callable[..., None], tmp_path: Path) -> None:
    for file in series.iterdir():
        dataset = dcmread(file)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(file)
    for name in ("json", "runpy", "pydicom", "numpy"):
        (series / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    done = run_in(series, "from conemos_bundle.volumes import read_volume; print(read_volume('.').voxels.shape)")
    assert done.stdout.startswith("(1, "), done.stderr
    assert not (tmp_path / "mark").exists()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake's Python")
def test_modules_and_profiles_beside_a_grid_are_not_run(tiny_dataset: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    room = tmp_path / "room"
    for folder in (room, room / "out"):
        folder.mkdir()
        for name in ("snakemake", "monai", "conemos_bundle"):
            (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')")
    (room / "profiles" / "default").mkdir(parents=True)
    (room / "profiles" / "default" / "config.yaml").write_text(
        f"default-resources:\n  - \"mem_mb=__import__('pathlib').Path({str(mark)!r}).touch() or 100\"\n"
    )
    data = {"datalist": str(tiny_dataset / "datalist.json"), "dataset_dir": str(tiny_dataset)}
    (room / "grid.json").write_text(json.dumps({"datasets": {"a": data}, "runs": [{}]}))
    call = "from conemos_bundle.cli import experiments; experiments('grid.json', 'out', dry_run=True)"
    done = run_in(room, call)
    assert done.returncode == 0, done.stderr
    assert not mark.exists()


@pytest.mark.parametrize("kinds", [5, 16, 17, 5000])
def test_a_header_with_thousands_of_kinds_is_refused_and_ends_nothing(kinds: int, tmp_path: Path) -> None:
    file = tmp_path / "a.seg.nrrd"
    write_seg_nrrd(file, np.repeat(MASK, 2, 0), np.eye(4), ["a", "b"])
    header, voxels = file.read_bytes().split(b"\n\n", 1)
    lines = [b"kinds: " + b"list " * kinds if line.startswith(b"kinds") else line for line in header.split(b"\n")]
    file.write_bytes(b"\n".join(lines) + b"\n\n" + voxels)
    with pytest.raises(UserError, match=r"a\.seg\.nrrd: "):
        read_segments(file)


def test_thousands_of_segments_of_one_layer_are_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.seg.nrrd"
    write_seg_nrrd(file, MASK, np.eye(4), ["a"])
    header, voxels = file.read_bytes().split(b"\n\n", 1)
    more = b"".join(b"\nSegment%d_ID:=s%d\nSegment%d_Layer:=0" % (i, i, i) for i in range(1, 2000))
    file.write_bytes(header + more + b"\n\n" + voxels)
    assert len(read_segments(file)) == 2000
    monkeypatch.setattr("conemos_bundle.volumes.geometry.memory_of_machine", lambda: 10**5)
    with pytest.raises(UserError, match="do not fit in this machine's memory"):
        read_seg_nrrd(file)


def nrrd(folder: Path, content: bytes, **fields: str) -> Path:
    told = {"type": "uint8", "dimension": "3", "space": "LPS", "sizes": "4 4 4", "encoding": "raw"}
    told |= {"space directions": "(1,0,0) (0,1,0) (0,0,1)", "space origin": "(0,0,0)", **fields}
    file = folder / "a.nrrd"
    file.write_bytes(b"NRRD0004\n" + "".join(f"{k}: {v}\n" for k, v in told.items()).encode() + b"\n" + content)
    return file


@pytest.mark.parametrize("sizes", ["٤ ٤ ٤", "0_4 4 4", "4 4 -4", "4.0 4 4"])
def test_sizes_are_plain_digits(sizes: str, tmp_path: Path) -> None:
    assert read_volume(nrrd(tmp_path, bytes(64))).voxels.shape == (1, 4, 4, 4)
    with pytest.raises(UserError, match=r"a\.nrrd: "):
        read_volume(nrrd(tmp_path, bytes(64), sizes=sizes))


def test_what_is_skipped_is_not_kept(tmp_path: Path) -> None:
    skipped = 1 << 26
    file = nrrd(tmp_path, bz2.compress(bytes(skipped + 64)), encoding="bzip2", **{"byte skip": str(skipped)})
    tracemalloc.start()
    assert read_volume(file).voxels.shape == (1, 4, 4, 4)
    assert tracemalloc.get_traced_memory()[1] < skipped / 4
    tracemalloc.stop()


def test_a_pipe_linked_among_slices_is_not_waited_for(series: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (series / "99.dcm").symlink_to(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"99\.dcm: cannot be read \(not a file\)"):
        series_in(series)


def test_a_deflated_slice_may_not_become_gigabytes(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sorted(series.iterdir())[0]
    dataset = dcmread(file)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file)
    assert dcmread(file).file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    series_in(series)
    monkeypatch.setattr(dicom_files, "MOST_BYTES", 1 << 22)
    content = file.read_bytes()
    end = 144 + int.from_bytes(content[140:144], "little")
    plain = zlib.decompress(content[end:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    file.write_bytes(content[:end] + packer.compress(plain + bytes(1 << 23)) + packer.flush())
    monkeypatch.setattr(dicom_files, "dcmread", lambda *_, **__: pytest.fail("inflated"))
    with pytest.raises(UserError, match="becomes larger than 4 MB"):
        series_in(series)


def bundle_metadata(folder: Path, channels: dict[str, str]) -> Path:
    file = folder / "metadata.json"
    file.write_text(json.dumps({"network_data_format": {"outputs": {"pred": {"channel_def": channels}}}}))
    return file


def test_channels_go_by_their_numbers_not_by_their_place(tmp_path: Path) -> None:
    file = bundle_metadata(tmp_path, {"2": "b", "0": "background", "1": "a"})
    assert read_metadata(file)[1] == ["a", "b"]


@pytest.mark.parametrize("keys", ["02", "13", ["0", "01"], ["0", "a"]])
def test_channels_are_numbered_without_gaps(keys: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its keys must be '0' to '1', each once"):
        read_metadata(bundle_metadata(tmp_path, dict(zip(keys, ("background", "a"), strict=True))))


def images(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        nibabel.save(nibabel.Nifti1Image(MASK[0], np.eye(4)), folder / f"{name}.nii.gz")


def test_nnunets_channels_are_plain_digits_once_each(tmp_path: Path) -> None:
    images(tmp_path / "imagesTr", "c_0000", "c_٠٠٠٠")
    images(tmp_path / "labelsTr", "c")
    described = {"channel_names": {"0": "a", "1": "b"}, "labels": {"background": 0, "x": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="named CASE_0000"):
        from_nnunet(tmp_path, tmp_path, str)


@pytest.mark.parametrize("labels", [{"1": "a", "01": "b"}, {"1": "a", " 2": "b"}, {"٣": "a"}, {"1" * 5000: "a"}])
def test_decathlons_labels_are_plain_digits(labels: dict[str, str], tmp_path: Path) -> None:
    images(tmp_path, "i", "l")
    content = {"labels": labels, "training": [{"image": "i.nii.gz", "label": "l.nii.gz"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="is no label value") as error:
        from_decathlon(tmp_path, tmp_path, str)
    assert len(str(error.value)) < 500


def test_a_table_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(UserError, match="cannot read this table"):
        from_csv(tmp_path, tmp_path, None, {"a": 1}, "t.csv")


@pytest.mark.parametrize("subject", ["x\ny", "s" * 300, "a\u202eb"])
def test_subjects_of_a_table_that_cannot_be_are_one_line(subject: str, tmp_path: Path) -> None:
    images(tmp_path / "images", "c")
    images(tmp_path / "labels", "c")
    (tmp_path / "t.csv").write_text(f'scan,subject,a\nc,"{subject}",1\n')
    with pytest.raises(UserError, match=r"c\.nii\.gz: subject: ") as error:
        from_csv(tmp_path, tmp_path, None, {"a": 1}, "t.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("twice", [("\u00e9", "e\u0301")])
def test_one_region_under_two_spellings_is_refused(twice: tuple[str, str], tmp_path: Path) -> None:
    masks = {twice[0]: "a.nii.gz", twice[1]: "b.nii.gz"}
    content = {"regions": [twice[0]], "training": [{"image": "i.nii.gz", "subject": "s", "masks": masks}]}
    (tmp_path / "d.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="stands twice in one place"):
        read_datalist(tmp_path / "d.json")


def test_a_chain_of_thousands_of_regions_is_checked_in_a_moment(tmp_path: Path) -> None:
    names = [f"r{i}" for i in range(4000)]
    content = {"regions": names, "inside": dict(zip(names[1:], names, strict=False))}
    (tmp_path / "d.json").write_text(json.dumps(content))
    assert len(read_datalist(tmp_path / "d.json").inside) == 3999  # tests end after 300 s; it took longer
    content["inside"][names[0]] = names[-1]
    (tmp_path / "d.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="inside itself"):
        read_datalist(tmp_path / "d.json")


def test_no_scan_is_called_as_what_is_swept() -> None:
    with pytest.raises(UserError, match="rename the file"):
        scan_name(".part-host-1-1.nii.gz")


def test_a_network_of_a_million_layers_is_not_built() -> None:
    with pytest.raises(ValidationError, match="layers, more than"):
        NetworkConfig.model_validate(
            {"_target_": "IndividualNetworks", "num_regions": 1500, "channels": [1] * 8, "convs_per_level": 16}
        )


@pytest.mark.parametrize(
    ("told", "expected"),
    [([("a", 1), ("b", 2)], {"a": 1, "b": 2}), ([("a", 0), ("b", 2)], {"b": 2}), ([("a", 1), ("b", 1)], {})],
)
def test_labels_that_cannot_be_told_apart_are_no_regions(told: list[tuple[str, int]], expected: dict[str, int]) -> None:
    info = {"label_info": [{"name": name, "idx": value} for name, value in told]}
    assert label_values(info, ["a", "b"]) == expected


def test_requests_that_are_no_numbers_and_no_paths(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a number from 0 to 10"):
        number({"x": 10**400}, "x", 1, 0, 10)
    with pytest.raises(UserError, match="give the name of one scan"):
        checked_image("/stud/\ud800", [tmp_path])


def test_a_keras_file_that_says_it_has_gigabytes_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("unet")
        group.create_dataset("unet_a", shape=(200_000, 100_000), dtype="f4", chunks=(1000, 1000))
        group.attrs["weight_names"] = [b"unet_a"]
    with pytest.raises(UserError, match="not a Keras HDF5 file"):
        read_keras_weights(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_group("unet").attrs["weight_names"] = 3
    with pytest.raises(UserError, match="not a Keras HDF5 file"):
        read_keras_weights(tmp_path / "b.h5")


def test_an_error_is_a_line_not_a_book() -> None:
    assert len(str(UserError("x" * 10**6))) < 6000
