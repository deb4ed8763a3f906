"""Which files a result depends on."""

from __future__ import annotations

from pathlib import Path

from conemos_bundle.volumes.fingerprints import files_of


def test_texts_that_look_like_paths_are_no_files(tmp_path: Path) -> None:
    scan, mask, other = (tmp_path / name for name in ("a.nii.gz", "mask.seg.nrrd", "other.txt"))
    for file in (scan, mask, other):
        file.write_text("x")
    masks = {"a": {"file": str(mask), "segment": str(other)}}
    item = {"image": str(scan), "subject": str(tmp_path), "name": str(other), "masks": masks}
    assert files_of(item) == [scan, mask]
    assert files_of([str(tmp_path)]) == [scan, mask, other]
