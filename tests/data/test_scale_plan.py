"""The scale of each region, from masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.data.scale_plan import FEWEST, FEWEST_BOXES, describe_scales, factors, own_factor, plan_scales
from conemos_bundle.errors import UsageError, UserError

SHAPE = (60, 40, 30)
PLAN: dict[str, Any] = {"in_channels": 1, "spacing": [1.5, 1.5, 1.5], "patch_size": [32, 32, 32], "whole_scans": True}
BOXES = {
    "body": ((2, 4, 4), (58, 36, 28)),
    "brain": ((4, 8, 8), (24, 26, 20)),
    "eyes": ((24, 14, 10), (26, 20, 12)),  # at the brain, outside of it
    "other": ((40, 10, 10), (50, 20, 20)),
}
REGIONS = list(BOXES)


def named(regions: list[str], **inside: str) -> Datalist:
    return Datalist.model_construct(regions=regions, inside=inside)


def scan(folder: Path, index: int, affine: np.ndarray, **boxes: Any) -> dict[str, Any]:
    image = folder / f"image{index}.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), affine), image)
    masks = {}
    for region, (first, end) in boxes.items():
        mask = np.zeros(SHAPE, np.uint8)
        mask[tuple(slice(a, b) for a, b in zip(first, end, strict=True))] = 1
        nibabel.save(nibabel.Nifti1Image(mask, affine), folder / f"{region}{index}.nii")
        masks[region] = {"file": str(folder / f"{region}{index}.nii")}
    return {"image": str(image), "masks": masks}


def scans(folder: Path, number: int, affine: np.ndarray | None = None, **boxes: Any) -> list[dict[str, Any]]:
    affine = np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine
    return [scan(folder, i, affine, **(boxes or BOXES)) for i in range(number)]


@pytest.mark.parametrize(
    ("extent", "spacing", "expected"),
    [
        ((128, 40, 40), (2, 2, 2), (1, 1, 1)),  # 64 voxels
        ((129, 40, 40), (2, 2, 2), (2, 2, 2)),
        ((30, 40, 530), (2, 2, 2), (8, 8, 8)),
        ((10, 10, 10), (2, 2, 2), (1, 1, 1)),  # never finer than the scans
        ((280, 200, 350), (1.5, 1.5, 6), (4, 4, 1)),  # in plane, until voxels are cubes
        ((280, 200, 760), (1.5, 1.5, 6), (8, 8, 2)),
    ],
)
def test_own_factor(extent: tuple[float, ...], spacing: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert own_factor(extent, spacing) == expected


def test_factors_are_powers_of_two_towards_cubes() -> None:
    assert factors(1, [1, 1, 5]) == (1, 1, 1)
    assert factors(4, [1, 1, 5]) == (4, 4, 1)
    assert factors(8, [1, 1.2, 5]) == (8, 8, 2)


def test_one_scale_leaves_the_plan_as_it_is(tmp_path: Path) -> None:
    assert plan_scales(PLAN, [], named(REGIONS), "one") == PLAN


def test_extent_spacing_and_place_of_each_region(tmp_path: Path) -> None:
    plan = plan_scales(PLAN, scans(tmp_path, FEWEST_BOXES), named(REGIONS), "own")
    assert not plan["whole_scans"]
    patches = {region: scale.pop("patch_size") for region, scale in plan["scales"].items()}
    # cubes of 1.2 times the longest side, at their own spacing, within the scan's 120 x 80 x 60 mm
    assert patches == {"body": [40, 32, 24], "brain": [32, 32, 32], "eyes": [16, 16, 16], "other": [16, 16, 16]}
    assert all(scale["speck"] == 0.5 for scale in plan["scales"].values())  # each is one part
    assert {region: {k: v for k, v in scale.items() if k != "speck"} for region, scale in plan["scales"].items()} == {
        "body": {"extent_mm": [112, 64, 48], "factor": [2, 2, 2]},
        "brain": {"extent_mm": [40, 36, 24], "factor": [1, 1, 1], "within": "body", "found_at": [2, 2, 2]},
        "eyes": {"extent_mm": [4, 12, 4], "factor": [1, 1, 1], "within": "brain", "found_at": [1, 1, 1]},
        "other": {"extent_mm": [20, 20, 20], "factor": [1, 1, 1], "within": "body", "found_at": [2, 2, 2]},
    }
    assert plan["patch_size"] == [40, 32, 32]
    same = plan_scales(PLAN, scans(tmp_path, 3), named(REGIONS), "own", patch_size=[8, 9, 10])
    assert same["patch_size"] == [8, 9, 10]
    assert all(scale["patch_size"] == [8, 9, 10] for scale in same["scales"].values())
    assert describe_scales(plan).splitlines()[2] == (
        "brain   40 x 36 x 24   1.5 x 1.5 x 1.5  0.5    in the box of body, first at 3 x 3 x 3 mm"
    )


def test_extents_are_along_the_axes_of_ras(tmp_path: Path) -> None:
    affine = np.array([[0, 0, -3.0, 0], [2.0, 0, 0, 0], [0, 2.5, 0, 0], [0, 0, 0, 1]])  # voxel axes: A, S, L
    plan = plan_scales(PLAN, scans(tmp_path, 1, affine), named(REGIONS), "own")
    assert plan["scales"]["other"]["extent_mm"] == [30, 20, 25]


def test_few_scans_tell_nothing(tmp_path: Path) -> None:
    items = scans(tmp_path, FEWEST - 1)
    assert "within" not in plan_scales(PLAN, items, named(REGIONS), "own")["scales"]["brain"]
    found = plan_scales(PLAN, scans(tmp_path, FEWEST), named(REGIONS), "own")["scales"]
    assert found["brain"]["within"] == "body"
    assert "within" not in found["eyes"] or found["eyes"]["within"] == "body"  # a box needs more scans to tell


def test_one_scan_that_says_otherwise_is_enough(tmp_path: Path) -> None:
    items = scans(tmp_path, FEWEST_BOXES - 1)
    outside = {**BOXES, "brain": ((0, 0, 0), (24, 26, 20))}
    items[3] = scan(tmp_path, 3, np.diag([2.0, 2.0, 2.0, 1.0]), **outside)
    found = plan_scales(PLAN, items, named(REGIONS), "own")["scales"]
    assert found["brain"].get("within") != "body"
    assert found["other"]["within"] == "body"


def test_regions_of_one_size_are_not_within_each_other(tmp_path: Path) -> None:
    first, end = BOXES["body"]
    items = scans(tmp_path, 12, body=(first, end), skin=((first[0], first[1], first[2] + 1), end))
    assert all(
        "within" not in scale for scale in plan_scales(PLAN, items, named(["body", "skin"]), "own")["scales"].values()
    )


def test_what_is_declared_inside_is_looked_for_there(tmp_path: Path) -> None:
    found = plan_scales(PLAN, scans(tmp_path, 1), named(REGIONS, other="body"), "own")["scales"]
    assert found["other"]["within"] == "body"


def test_what_is_found_gives_way_to_what_is_declared(tmp_path: Path) -> None:
    items = scans(tmp_path, FEWEST_BOXES)
    assert plan_scales(PLAN, items, named(REGIONS), "own")["scales"]["brain"]["within"] == "body"
    found = plan_scales(PLAN, items, named(REGIONS, body="eyes"), "own")["scales"]  # the wrong way round
    assert found["body"]["within"] == "eyes" and found["brain"]["within"] == "body"
    assert "within" not in found["eyes"]


def test_in_a_large_scan_a_region_is_found_first(tmp_path: Path) -> None:
    plan = {**PLAN, "spacing": [0.5, 0.5, 0.5]}
    items = scans(tmp_path, 1, other=BOXES["other"])
    found = plan_scales(plan, items, named(["other"]), "own")["scales"]["other"]
    assert (found.pop("patch_size"), found.pop("speck")) == ([48, 48, 48], 0.5)
    assert found == {"extent_mm": [20, 20, 20], "factor": [1, 1, 1], "found_at": [4, 4, 4]}  # 240 x 160 x 120 voxels


def test_scales_by_hand(tmp_path: Path) -> None:
    by_hand = {
        "eyes": {"within": "body", "factor": [2, 1, 1]},
        "brain": {"found_at": None, "speck": None},
        "other": {"within": None, "patch_size": [8, 8, 8]},
    }
    found = plan_scales(PLAN, scans(tmp_path, 10), named(REGIONS), by_hand)["scales"]
    assert found["other"].pop("patch_size") == [8, 8, 8]
    assert found["eyes"].pop("patch_size") == [16, 16, 16]
    assert found["brain"].pop("patch_size") == [32, 32, 32]
    assert found["eyes"].pop("speck") == 0.5
    assert found["eyes"] == {"extent_mm": [4, 12, 4], "factor": [2, 1, 1], "within": "body", "found_at": [2, 2, 2]}
    assert found["brain"] == {"extent_mm": [40, 36, 24], "factor": [1, 1, 1], "within": "body"}
    assert "within" not in found["other"]


def test_specks_are_smaller_than_what_most_scans_have(tmp_path: Path) -> None:
    def speck(*second: int) -> float:
        """Of scans with two parts each, the first of 100 voxels."""
        items = []
        for i, voxels in enumerate(second):
            item = scan(tmp_path, i, np.diag([2.0, 2.0, 2.0, 1.0]), eyes=((0, 0, 0), (10, 10, 1)))
            mask = np.zeros(SHAPE, np.uint8)
            mask[:10, :10, 0] = mask[20, :voxels, 0] = 1
            nibabel.save(nibabel.Nifti1Image(mask, np.diag([2.0, 2.0, 2.0, 1.0])), item["masks"]["eyes"]["file"])
            items.append(item)
        return float(plan_scales(PLAN, items, named(["eyes"]), "own")["scales"]["eyes"]["speck"])

    assert speck(*[20] * 12) == pytest.approx(0.1)
    assert speck(5, *[20] * 11) == pytest.approx(0.1)  # one that is cut off by the field of view
    assert speck(*[5] * 3, *[20] * 9) == pytest.approx(0.025)
    assert speck(1) == pytest.approx(0.5)  # a slip of the hand


def test_scales_that_say_all_need_no_mask(tmp_path: Path) -> None:
    plan = plan_scales(PLAN, scans(tmp_path, 10), named(REGIONS), "own")
    assert plan_scales(PLAN, [], named(REGIONS), plan["scales"])["scales"] == plan["scales"]


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ("two", "--scales 'two': use one, own"),
        ({"head": {}}, "'head' is no region"),
        ({"eyes": {"factor": [0, 1, 1]}}, "eyes|factor"),
        ({"eyes": {"size": 3}}, "size"),
        ({"eyes": 2}, "--scales: eyes: give what shall be otherwise"),
        ({"eyes": {"within": "head"}}, "no region"),
        ({"body": {"within": "eyes"}}, "within itself"),
        ({"brain": {"factor": [4, 4, 4], "found_at": [2, 2, 2]}}, "finer"),
    ],
)
def test_scales_that_make_no_sense(tmp_path: Path, scales: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_scales(PLAN, scans(tmp_path, 10), named(REGIONS), scales)


def test_a_region_that_nobody_annotates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'head': no training scan annotates it"):
        plan_scales(PLAN, scans(tmp_path, 1), named([*REGIONS, "head"]), "own")
