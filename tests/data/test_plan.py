from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conemos_bundle.data.plan import fit_patch, plan_input
from conemos_bundle.errors import UserError
from scipy.spatial.transform import Rotation


def write(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> dict[str, Any]:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine), path)
    return {"image": str(path)}


def scans(folder: Path, *sizes_and_spacings: tuple[tuple[int, ...], tuple[float, ...]]) -> list[dict[str, Any]]:
    return [
        write(folder / f"{i}.nii", size, np.diag([*spacing, 1])) for i, (size, spacing) in enumerate(sizes_and_spacings)
    ]


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [
        ((8, 16, 24), 10**6, [8, 16, 24]),
        ((9, 16.5, 1), 10**6, [16, 24, 8]),
        ((64, 32, 32), 32**3, [32, 32, 32]),  # the longest side gives way first
        ((30, 30, 30), 24**3, [24, 24, 24]),
        ((100, 100, 8), 8 * 40 * 40, [40, 40, 8]),
        ((100, 100, 100), 1, [8, 8, 8]),
        ((1e30, 1e30, 8), 8 * 40 * 40, [40, 40, 8]),
    ],
)
def test_patch_of_a_size(size: tuple[float, ...], most: int, expected: list[int]) -> None:
    assert fit_patch(size, most) == expected


def test_median_spacing_and_extent(tmp_path: Path) -> None:
    items = scans(tmp_path, ((50, 20, 10), (1, 1, 2)), ((20, 20, 8), (2, 1, 3)), ((15, 20, 8), (4, 1, 9)))
    plan = plan_input(items)
    # median extent 50, 20, 24 mm
    assert plan == {"in_channels": 1, "spacing": [2, 1, 3], "patch_size": [32, 24, 8], "whole_scans": True}


def test_spacing_and_patch_size_that_are_given(tmp_path: Path) -> None:
    items = scans(tmp_path, ((20, 20, 10), (1, 1, 2)))
    assert plan_input(items, spacing=[2, 2, 2]) == {
        "in_channels": 1,
        "spacing": [2, 2, 2],
        "patch_size": [16, 16, 16],  # 10 voxels of 2 mm, up to a multiple of 8
        "whole_scans": True,
    }
    smaller = plan_input(items, patch_size=[4, 5, 6])
    assert smaller["patch_size"] == [4, 5, 6]
    assert not smaller["whole_scans"]


def test_axes_are_those_of_ras(tmp_path: Path) -> None:
    affine = np.zeros((4, 4))  # first axis towards inferior, second towards left, third towards anterior
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -3, -1, 2, 1
    plan = plan_input([write(tmp_path / "a.nii", (8, 16, 24), affine)])
    assert plan == {"in_channels": 1, "spacing": [1, 2, 3], "patch_size": [16, 24, 8], "whole_scans": True}


def test_channels_of_a_4d_file_and_of_several_files(tmp_path: Path) -> None:
    together = write(tmp_path / "a.nii", (8, 8, 8, 2), np.eye(4))
    apart = {"image": [write(tmp_path / f"{c}.nii", (8, 8, 8), np.eye(4))["image"] for c in "bc"]}
    assert plan_input([together, apart])["in_channels"] == 2
    with pytest.raises(UserError, match=r"d\.nii: 1 channels, other scans have 2"):
        plan_input([together, write(tmp_path / "d.nii", (8, 8, 8), np.eye(4))])


def test_at_most_50_scans_are_read(tmp_path: Path) -> None:
    readable = write(tmp_path / "a.nii", (8, 8, 8), np.eye(4))
    items = [readable if i in np.linspace(0, 98, 50).astype(int) else {"image": "absent.nii"} for i in range(99)]
    assert plan_input(items)["spacing"] == [1, 1, 1]


def test_scans_that_cannot_be_read_and_no_scan(tmp_path: Path) -> None:
    (tmp_path / "broken.nii").write_text("no image")
    with pytest.raises(UserError, match=r"broken\.nii: cannot be read as an image") as caught:
        plan_input([{"image": str(tmp_path / "broken.nii")}])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no training scan with an annotated region"):
        plan_input([])


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 1.2), (0.7, 0.9, 1.1)])
def test_last_digits_of_an_affine_add_no_voxel_to_the_patch(spacing: tuple[float, ...], tmp_path: Path) -> None:
    """As 32-bit floats and turned, 0.8 is 0.80000001; 40 voxels of it are 40, not 48 in multiples of 8."""
    for k in range(8):
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_rotvec([0.1 * k, 0.07 * k, -0.05 * k]).as_matrix() * spacing
        plan = plan_input([write(tmp_path / f"{k}.nii", (40, 48, 24), affine.astype(np.float32))])
        assert plan["spacing"] == list(spacing)
        assert plan["patch_size"] == [40, 48, 24]
        assert plan["whole_scans"]
