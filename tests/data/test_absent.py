from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conemos_bundle.cli.datalist import datalist
from conemos_bundle.data.absent import declare_absent, with_absent
from conemos_bundle.data.datalist import Datalist, MaskSource, Scan, read_datalist
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.seg_nrrd import write_seg_nrrd

SHAPE = (6, 5, 4)


def write(path: Path, *voxels: tuple[int, tuple[int, int, int]]) -> None:
    """A volume that is 0 but for these values."""
    volume = np.zeros(SHAPE, np.uint8)
    for value, index in voxels:
        volume[index] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    write(tmp_path / "labels.nii", (1, (0, 0, 0)), (3, (1, 1, 1)), (9, (2, 2, 2)))
    write(tmp_path / "empty.nii")
    write(tmp_path / "known.nii", (1, (1, 1, 1)))
    masks = np.zeros((2, 3, 5, 4), np.uint8)
    masks[0, 1] = 1
    write_seg_nrrd(tmp_path / "x.seg.nrrd", masks, np.eye(4), ["there", "nowhere"])
    sources: dict[str, Any] = {
        "file": "empty.nii",
        "value": {"file": "labels.nii", "values": [1]},
        "no value": {"file": "labels.nii", "values": [2], "ignore": 9},
        "unknown there": {"file": "labels.nii", "values": [1], "known": "known.nii"},
        "known there": {"file": "labels.nii", "values": [3], "known": "known.nii"},
        "segment": {"file": "x.seg.nrrd", "segment": "there"},
        "no segment": {"file": "x.seg.nrrd", "segment": "nowhere", "known": "known.nii"},
        "said": {"absent": True},
    }
    return Scan(image="i.nii", subject="s", masks=sources)


def test_empty_masks_are_declared_absent_and_keep_their_files(scan: Scan, tmp_path: Path) -> None:
    (declared,), count = declare_absent([scan], tmp_path)
    assert declared.absent == {"file", "no value", "unknown there", "no segment", "said"}
    assert declared.annotated == {"value", "known there", "segment"}
    assert count == 4
    assert declared.source("file") == MaskSource(file="empty.nii", absent=True)
    assert declared.source("no value") == MaskSource(file="labels.nii", values=[2], ignore=[9], absent=True)
    assert scan.absent == {"said"}  # the argument stays as it was


def test_chosen_masks_are_declared_absent(scan: Scan) -> None:
    data = Datalist(regions=list(scan.masks), training=[scan], test=[scan.model_copy(update={"subject": "t"})])
    changed = with_absent(data, [("test", 0, "file"), ("test", 0, "value")])
    assert changed.test[0].absent == {"file", "value", "said"}
    assert changed.training == data.training and data.test[0].absent == {"said"}


@pytest.mark.parametrize("empty", [None, "absent"])
def test_the_command_declares_what_it_was_told(
    tmp_path: Path, empty: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, voxels in {"a": [(1, (0, 0, 0))], "b": []}.items():
        write(tmp_path / "images" / f"{name}.nii")
        write(tmp_path / "masks" / "liver" / f"{name}.nii", *voxels)
        write(tmp_path / "masks" / "spleen" / f"{name}.nii", (1, (1, 1, 1)))
    datalist(str(tmp_path), output=str(tmp_path / "d.json"), validation=0, test=0, empty=empty)
    scans = {scan.subject: scan for scan in read_datalist(tmp_path / "d.json").training}
    assert scans["a"].absent == set()
    assert scans["b"].absent == ({"liver"} if empty else set())
    table = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    head, row = (
        ("scans liver liver absent spleen", "training 2 1 1 2") if empty else ("scans liver spleen", "training 2 2 2")
    )
    assert head in table and row in table


def test_the_option_has_one_value_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name in ("images/a.nii", "masks/liver/a.nii"):
        write(tmp_path / name)
    with pytest.raises(UserError, match="--empty background: write --empty absent"):
        datalist(str(tmp_path), output=str(tmp_path / "d.json"), empty="background")
    (tmp_path / "masks/liver/a.nii").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"liver/a\.nii: cannot (be )?read"):
        datalist(str(tmp_path), output=str(tmp_path / "d.json"), empty="absent")
    assert not (tmp_path / "d.json").exists()
