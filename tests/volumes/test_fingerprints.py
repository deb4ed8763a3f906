"""Which files a result depends on."""

from __future__ import annotations

import shutil
from pathlib import Path

from conemos_bundle.volumes.fingerprints import files_of
from pydicom import dcmread


def test_texts_that_look_like_paths_are_no_files(tmp_path: Path) -> None:
    scan, mask, other = (tmp_path / name for name in ("a.nii.gz", "mask.seg.nrrd", "other.txt"))
    for file in (scan, mask, other):
        file.write_text("x")
    masks = {"a": {"file": str(mask), "segment": str(other)}}
    item = {"image": str(scan), "subject": str(tmp_path), "name": str(other), "masks": masks}
    assert files_of(item) == [scan, mask]


def test_a_dicom_scan_depends_on_its_slices_alone(series: Path) -> None:
    slices = sorted(series.iterdir())
    for name in ("predictions/a.nii.gz", "notes.txt", ".DS_Store", ".part-x-1-1/0.dcm", "DICOMDIR", "sub/0"):
        (series / name).parent.mkdir(exist_ok=True)
        shutil.copy(slices[0], series / name) if name == "sub/0" else (series / name).write_text("x")
    seg = dcmread(slices[0])
    seg.Modality = "SEG"
    seg.save_as(series / "predictions" / "series.seg.dcm")
    assert files_of([str(series)]) == [*slices, series / "sub" / "0"]
