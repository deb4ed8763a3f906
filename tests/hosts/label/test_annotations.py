"""What a saved label says of which regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.annotations import (
    drawn_names,
    known_relations,
    label_values,
    on_grid,
    read_saved,
    regions_in,
)
from conemos_bundle.utils.known import IGNORED
from conemos_bundle.volumes.seg_nrrd import write_seg_nrrd
from scipy.spatial.transform import Rotation

REGIONS = ["Uterus", "placenta", "brain"]  # outer first; the placenta and the brain lie in the uterus
KNOWN = {("Uterus", "placenta"): "contains", ("Uterus", "brain"): "contains", ("placenta", "brain"): "excludes"}
SHAPE = (6, 5, 4)
AFFINE = np.eye(4)
AFFINE[:3, :3] = Rotation.from_euler("xyz", [20, -30, 50], degrees=True).as_matrix()[:, [1, 0, 2]] * [0.8, 1.1, 2]
AFFINE[:3, 3] = [10, -20, 5]


def label_map(path: Path, **places: tuple[int, slice]) -> str:
    labels = np.zeros(SHAPE, np.uint8)
    for value, rows in places.values():
        labels[rows] = value
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), path)
    return str(path)


def rows_of(masks: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {region: sorted(set(np.nonzero(mask)[0].tolist())) for region, mask in masks.items()}


def read(label: str, info: dict[str, Any] | None = None, known: dict | None = None) -> dict[str, list[int]]:
    return rows_of(read_saved(label, info or {}, REGIONS, KNOWN if known is None else known, SHAPE, AFFINE))


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, {"Uterus": 1, "placenta": 2, "brain": 3}),
        ({"label_info": 5, "params": [1]}, {"Uterus": 1, "placenta": 2, "brain": 3}),
        (
            {"label_info": [5, {"name": ["brain"], "idx": {}}, {"name": "brain", "idx": "$1"}]},
            {"Uterus": 1, "placenta": 2, "brain": 3},
        ),
        ({"label_info": [{"name": "brain", "idx": 7.0}, {"name": "uterus", "idx": float("nan")}]}, {"brain": 7}),
        ({"params": {"label_names": {"brain": 4, "uterus": 10**400, "placenta": float("inf")}}}, {"brain": 4}),
        ({"label_info": [{"name": "uterus", "idx": 2}, {"name": "lesion", "idx": 1}]}, {"Uterus": 2}),
        ({"label_info": [{"name": "lesion", "idx": 1}]}, {}),  # no region of the model, whatever its value
        ({"params": {"label_names": {"uterus": 1, "brain": 3}}}, {"Uterus": 1, "brain": 3}),
        ({"label_info": [{"name": "brain", "idx": 1}], "params": {"label_names": {"brain": 3}}}, {"brain": 1}),
    ],
)
def test_label_values(info: dict[str, Any], expected: dict[str, int]) -> None:
    assert label_values(info, REGIONS) == expected


def test_a_map_of_one_region_annotates_that_one_only(tmp_path: Path) -> None:
    label = label_map(tmp_path / "a.nii.gz", brain=(3, np.s_[2:4]))
    assert read(label) == {"brain": [2, 3]}
    assert regions_in(label, {}, REGIONS) == ["brain"]


def test_the_clients_values_count_not_the_models(tmp_path: Path) -> None:
    label = label_map(tmp_path / "a.nii.gz", first=(1, np.s_[2:4]))
    info = {"label_info": [{"name": "brain", "idx": 1}]}
    assert read(label, info) == {"brain": [2, 3]}
    assert regions_in(label, info, REGIONS) == ["brain"]


def test_a_nested_map_is_expanded(tmp_path: Path) -> None:
    label = label_map(tmp_path / "a.nii.gz", uterus=(1, np.s_[:5]), placenta=(2, np.s_[0:2]), brain=(3, np.s_[3:4]))
    assert read(label) == {"Uterus": [0, 1, 2, 3, 4], "placenta": [0, 1], "brain": [3]}


@pytest.mark.parametrize("relation", ["overlaps", "unknown", "inside"])
def test_a_region_that_another_may_hide_is_unknown(tmp_path: Path, relation: str) -> None:
    label = label_map(tmp_path / "a.nii.gz", placenta=(2, np.s_[0:2]), brain=(3, np.s_[2:4]))
    assert read(label, known={("placenta", "brain"): relation}) == {"brain": [2, 3]}


def test_segments_may_overlap_and_empty_ones_are_unknown(tmp_path: Path) -> None:
    masks = np.zeros((4, *SHAPE), np.uint8)
    masks[0, :5], masks[1, 2:4], masks[3, 1] = 1, 1, 1
    write_seg_nrrd(tmp_path / "a.seg.nrrd", masks, AFFINE, ["uterus", "Brain", "placenta", "lesion"])
    label = str((tmp_path / "a.seg.nrrd").rename(tmp_path / "a.nrrd"))  # as MONAI Label names it
    assert read(label, known={}) == {"Uterus": [0, 1, 2, 3, 4], "brain": [2, 3]}
    assert regions_in(label, {}, REGIONS) == ["Uterus", "brain"]


def test_a_cropped_file_is_put_where_it_belongs(tmp_path: Path) -> None:
    cropped = AFFINE.copy()
    cropped[:3, 3] = (AFFINE @ [2, 1, 1, 1])[:3]
    write_seg_nrrd(tmp_path / "a.seg.nrrd", np.ones((2, 3, 2, 2), np.uint8), cropped, ["uterus", "brain"])
    brain = read_saved(str(tmp_path / "a.seg.nrrd"), {}, REGIONS, {}, SHAPE, AFFINE)["brain"]
    expected = np.zeros(SHAPE)
    expected[2:5, 1:3, 1:3] = 1
    np.testing.assert_array_equal(brain, expected)


@pytest.mark.parametrize(
    "change",
    [np.diag([2.0, 1, 1, 1]), np.diag([-1.0, 1, 1, 1]), np.array([[1, 0, 0, 0.4], *np.eye(4)[1:]]),
     np.array([[1, 0, 0, 3.0], *np.eye(4)[1:]])],
    ids=["another spacing", "flipped", "half a voxel away", "outside"],
)  # fmt: skip
def test_another_grid_is_refused(change: np.ndarray) -> None:
    with pytest.raises(UserError, match="its voxels are not the scan's"):
        on_grid("a.nrrd", np.ones((1, *SHAPE), np.uint8), AFFINE @ change, SHAPE, AFFINE)


def test_an_unreadable_label(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read"):
        read(str(tmp_path / "a.nii.gz"))


def test_relations_come_from_predictions_and_what_is_declared_wins() -> None:
    uterus, placenta, brain = np.zeros((3, 100), np.uint8)
    uterus[:80], placenta[58:82], brain[10:30] = 1, 1, 1  # 2 of the placenta's 24 voxels are on the wrong side
    predictions = [{"Uterus": uterus, "placenta": placenta, "brain": brain}]
    assert known_relations(predictions, REGIONS, {}) == KNOWN
    declared = known_relations(predictions, REGIONS, {"brain": "placenta", "placenta": "Uterus"})
    assert declared == {**KNOWN, ("placenta", "brain"): "contains"}


def test_segments_of_one_name_are_one_region(tmp_path: Path) -> None:
    label = label_map(tmp_path / "a.nii.gz", one=(1, np.s_[:1]), two=(9, np.s_[4:]))
    info = {"label_info": [{"name": name, "idx": value} for name, value in (("brain", 1), ("Brain", 9))]}
    assert regions_in(label, info, ["brain"]) == ["brain"]
    found = read_saved(label, info, ["brain"], {}, SHAPE, AFFINE)
    assert rows_of(found)["brain"][0] == 0 and rows_of(found)["brain"][-1] == SHAPE[0] - 1
    masks = np.zeros((2, *SHAPE), np.uint8)
    masks[0, 0], masks[1, 3] = 1, 1
    write_seg_nrrd(str(tmp_path / "b.nrrd"), masks, AFFINE, ["brain", "Brain"])
    assert rows_of(read_saved(str(tmp_path / "b.nrrd"), {}, ["brain"], {}, SHAPE, AFFINE)) == {"brain": [0, 3]}


def test_the_names_of_what_was_drawn_are_known_or_not(tmp_path: Path) -> None:
    label = label_map(tmp_path / "a.nii.gz", one=(1, np.s_[:2]), two=(3, np.s_[2:4]))
    names = [("brain", 1), ("cord", 2), ("cha\u0302teau", 3), ("nothing", 0)]
    info = {"label_info": [{"name": name, "idx": value} for name, value in names]}
    assert drawn_names(label, info) == ["brain", "ch\u00e2teau"]  # as a keyboard writes it
    alone = read_saved(label, info, ["ch\u00e2teau"], {}, SHAPE, AFFINE, ignore_others=False)
    assert rows_of(alone) == {"ch\u00e2teau": [2, 3]} and IGNORED not in alone["ch\u00e2teau"]
    here = read_saved(label, info, ["ch\u00e2teau"], {}, SHAPE, AFFINE)["ch\u00e2teau"]
    assert (here[2:4] == alone["ch\u00e2teau"][2:4]).all() and (here[:2] == IGNORED).any()  # the brain may hide it
    assert drawn_names(label, {}) == []  # a value without a name is the model's, or nobody's
    masks = np.zeros((2, *SHAPE), np.uint8)
    masks[0, 1:3] = 1
    write_seg_nrrd(str(tmp_path / "b.nrrd"), masks, AFFINE, ["lesion", "brain"])
    assert drawn_names(str(tmp_path / "b.nrrd"), {}) == ["lesion"]
