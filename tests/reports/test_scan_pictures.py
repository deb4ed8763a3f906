from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from conemos_bundle.data.results import output_files
from conemos_bundle.errors import UserError
from conemos_bundle.inferers import SaveImageRegionsd
from conemos_bundle.reports.scan_pictures import draw_planes, mask_sources, region_colors

from tests.reports.test_pictures import opened

AFFINE = np.diag([-1.0, 1.0, 1.0, 1.0])  # the first axis towards left
COLORS = {"left": "#ff0000", "right": "#0000ff"}
SHAPE = (40, 40, 40)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    image = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def masks() -> dict[str, np.ndarray]:
    """Two boxes: one at the patient's left, which is at the end of the first axis, and a smaller one at the right."""
    found = {region: np.zeros(SHAPE, np.uint8) for region in COLORS}
    found["left"][25:33, 16:24, 16:24] = 1
    found["right"][8:14, 18:22, 18:22] = 1
    return found


def written(folder: Path, scan: Path, output_format: str) -> tuple[dict[str, list[str]], dict]:
    save = SaveImageRegionsd(
        region_names=["other", *COLORS], regions=list(COLORS), output_dir=folder, output_format=output_format
    )
    result = save.save_each(masks().items(), AFFINE, {"filename_or_obj": str(scan)}, "scan")
    return output_files(folder, "scan", list(COLORS), output_format), result["regions"]


@pytest.mark.parametrize("output_format", ["files", "multichannel", "labelmap", "seg.nrrd"])
def test_outlines_lie_where_the_regions_are_whatever_the_format(output_format: str, scan: Path, tmp_path: Path) -> None:
    files, sizes = written(tmp_path / "out", scan, output_format)
    planes = draw_planes(str(scan), mask_sources(files, sizes), COLORS, 200)
    assert [(plane.name, plane.ends) for plane in planes] == [
        ("sagittal", ("P", "A")),
        ("coronal", ("L", "R")),
        ("axial", ("L", "R")),
    ]
    for plane in planes[1:]:
        pixels = opened(plane.uri)
        assert pixels.shape == (200, 200, 3)
        red, blue = (np.argwhere((pixels[..., i] > 200) & (pixels[..., 2 - i] < 60)) for i in (0, 2))
        assert len(red) > len(blue) > 50
        assert red[:, 1].max() < 100 < blue[:, 1].min()  # the letters say: L at the left
        height = np.ptp(red[:, 0])
        assert height / np.ptp(blue[:, 0]) == pytest.approx(8 / 4, rel=0.3)


def test_one_region_alone_of_several_in_a_file(scan: Path, tmp_path: Path) -> None:
    files, sizes = written(tmp_path / "out", scan, "multichannel")
    sources = mask_sources(files, sizes)
    assert [sources[region]["channel"] for region in COLORS] == [0, 1]
    pixels = opened(draw_planes(str(scan), {"right": sources["right"]}, COLORS, 200)[2].uri)
    assert ((pixels[..., 2] > 200) & (pixels[..., 0] < 60)).sum() > 50
    assert not ((pixels[..., 0] > 200) & (pixels[..., 2] < 60)).any()


def test_the_planes_are_where_all_regions_together_are_largest(scan: Path, tmp_path: Path) -> None:
    """Not where the first region is, nor the largest one."""
    boxes = {
        "first": (slice(8, 12), 6),
        "left": (slice(20, 27), 30),
        "right": (slice(8, 15), 30),
        "largest": (slice(8, 18), 18),
    }
    for region, (columns, row) in boxes.items():
        mask = np.zeros(SHAPE, np.uint8)
        mask[columns, 16:24, row] = 1
        nibabel.save(nibabel.Nifti1Image(mask, AFFINE), tmp_path / f"{region}.nii.gz")
    colors = {"first": "#00ff00", "left": "#ff0000", "right": "#0000ff", "largest": "#00ff00"}
    sources = {region: {"file": str(tmp_path / f"{region}.nii.gz")} for region in boxes}
    pixels = opened(draw_planes(str(scan), sources, colors, 200)[2].uri)
    red, green, blue = (((pixels[..., i] > 200) & (pixels.sum(-1) < 320)).sum() for i in range(3))
    assert red > 50 and blue > 50 and green == 0


def test_a_scan_without_masks_is_shown_through_its_middle(scan: Path) -> None:
    planes = draw_planes(str(scan), {}, {}, 100)
    assert [opened(plane.uri).std() > 10 for plane in planes] == [True, True, True]


def test_a_mask_on_another_grid_is_told(scan: Path, tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), np.uint8), AFFINE), tmp_path / "left.nii.gz")
    with pytest.raises(UserError, match="left.nii.gz"):
        draw_planes(str(scan), {"left": {"file": str(tmp_path / "left.nii.gz")}}, COLORS, 100)


def test_files_that_hold_no_mask_that_is_read_are_left_out() -> None:
    files = {"a_regions.nii.gz": ["x"], "a_regions.json": ["x"], "b.dcm": ["x"]}
    assert mask_sources(files, {}) == {"x": {"file": "a_regions.nii.gz"}}


def test_nine_regions_have_a_color_each() -> None:
    colors = region_colors([str(i) for i in range(9)])
    assert len(colors) == 9 and len(set(colors.values())) == 8
