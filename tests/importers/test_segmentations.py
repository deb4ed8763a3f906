from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conemos_bundle.data.datalist import Datalist, MaskSource
from conemos_bundle.volumes.seg_nrrd import write_seg_nrrd

IMAGES = dict.fromkeys(("images/a.nii.gz", "images/b.nrrd", "images/c.mha"), "")


def save(source: Path, name: str, segments: list[str]) -> None:
    (source / "segmentations").mkdir(exist_ok=True)
    write_seg_nrrd(source / "segmentations" / name, np.ones((len(segments), 2, 3, 4), np.uint8), np.eye(4), segments)


def test_segments_are_regions_where_the_file_has_them(source: Path, imported: Callable[..., Datalist]) -> None:
    save(source, "a.seg.nrrd", ["left eye", "brain"])
    save(source, "b.seg.nrrd", ["brain", "liver"])
    data = imported(IMAGES, validation=0, test=0)
    assert data.regions == ["left eye", "brain", "liver"]
    file = "segmentations/a.seg.nrrd"
    assert {str(scan.image): scan.masks for scan in data.training} == {
        "images/a.nii.gz": {
            "left eye": MaskSource(file=file, segment="left eye"),
            "brain": MaskSource(file=file, segment="brain"),
        },
        "images/b.nrrd": {
            "brain": MaskSource(file="segmentations/b.seg.nrrd", segment="brain"),
            "liver": MaskSource(file="segmentations/b.seg.nrrd", segment="liver"),
        },
        "images/c.mha": {},
    }
    asked = imported(IMAGES, regions=["liver", "left eye"], validation=0, test=0)
    assert [list(scan.masks) for scan in asked.training] == [["left eye"], ["liver"], []]
    assert asked.regions == ["liver", "left eye"]


def test_segments_that_are_not_asked_for_may_be_called_anything(
    source: Path, imported: Callable[..., Datalist]
) -> None:
    save(source, "a.seg.nrrd", ["brain", "notes (draft)", "Brain", "x", "x"])
    data = imported(IMAGES, regions=["brain"], validation=0, test=0)
    assert [list(scan.masks) for scan in data.training] == [["brain"], [], []]


@pytest.mark.parametrize(
    ("name", "segments", "options", "message"),
    [
        ("x.seg.nrrd", ["brain"], {}, "x.seg.nrrd: matches no image in"),
        ("a.nrrd", ["brain"], {}, "a.nrrd: not a .seg.nrrd"),
        ("a.seg.nrrd", ["brain", "brain"], {}, "a.seg.nrrd: names the region 'brain' twice"),
        ("a.seg.nrrd", ["left/eye"], {}, "a.seg.nrrd: 'left/eye' cannot name a region"),
        ("a.seg.nrrd", ["a", "b", "b"], {"regions": ["b"]}, "a.seg.nrrd: names the region 'b' twice"),
        ("a.seg.nrrd", ["brain"], {"regions": ["Brain"]}, "no segmentation has a segment 'Brain'; there are 'brain'"),
        ("a.seg.nrrd", ["brain"], {"regions": {"brain": 1}}, "segments have no label values"),
    ],
)
def test_what_is_refused(
    source: Path, refusal: Callable[..., str], name: str, segments: list[str], options: dict[str, Any], message: str
) -> None:
    save(source, "a.seg.nrrd", segments)
    (source / "segmentations/a.seg.nrrd").rename(source / "segmentations" / name)
    assert message in refusal(IMAGES, **options)
