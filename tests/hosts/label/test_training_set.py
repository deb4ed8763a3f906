"""Saved annotations as a data set."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from conemos_bundle.data.datalist import read_datalist
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.training_set import Saved, split, validates, write_training_set

SPACING = [1.0, 2.0, 3.0]
REGIONS = ["outer", "inner", "other"]
NAMES = [f"scan_{i}" for i in range(60)]


@pytest.mark.parametrize("first", range(20))
@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.9])
def test_a_scan_that_was_trained_on_never_judges_later(first: int, fraction: float) -> None:
    trained: set[str] = set()
    names = NAMES[first:]
    for count in range(1, len(names) + 1):  # one scan more a training, the first alone
        now_trained, judges = split(names[:count], fraction, trained)
        assert judges and now_trained
        if count > 1:
            assert not set(now_trained) & set(judges)
            assert sorted([*now_trained, *judges]) == sorted(names[:count])
            assert not trained & set(judges)
        trained |= set(now_trained)


def test_about_the_fraction_judges() -> None:
    assert 6 <= sum(validates(name, 0.2) for name in NAMES) <= 18


def test_scans_that_were_trained_on_judge_where_there_is_nothing_else() -> None:
    trained, judges = split(NAMES[:3], 0.2, set(NAMES[:3]))
    assert len(judges) == 1 and sorted([*trained, *judges]) == NAMES[:3]


@pytest.mark.parametrize("fraction", [0.0, 0.2, 1.0])
def test_of_two_scans_one_judges_and_one_alone_does_both(fraction: float) -> None:
    assert [len(part) for part in split(NAMES[:2], fraction)] == [1, 1]
    assert split(["a"], fraction) == (["a"], ["a"])


def saved(name: str, masks: dict[str, float]) -> Saved:
    own = {region: np.full((3, 3, 3), k + 1, np.uint8).clip(0, 1) for k, region in enumerate(REGIONS)}
    return Saved(name, f"/scans/{name}.nii.gz", np.diag([1.0, 2, 3, 1]), {r: own[r] for r in masks}, own)


def test_only_what_was_saved_is_annotated_and_the_rest_rehearsed(tmp_path: Path) -> None:
    trained, judged = split(["a", "b"], 0.2)
    scans = [saved(trained[0], {"inner": 1}), saved(judged[0], {"inner": 1, "outer": 1}), saved("empty", {})]
    assert write_training_set(tmp_path, scans, REGIONS, SPACING, 0.2) == ["other"]
    data, judge = (read_datalist(tmp_path / f"{name}.json") for name in ("datalist", "holdout"))
    assert [scan.subject for scan in data.training] == trained and [scan.subject for scan in data.validation] == judged
    folders = {region: Path(str(mask)).parts[0] for region, mask in data.training[0].masks.items()}
    assert folders == {"inner": "saved", "outer": "predicted", "other": "predicted"}
    assert set(data.validation[0].masks) == {"inner", "outer"}
    folders = {region: Path(str(mask)).parts[0] for region, mask in judge.validation[0].masks.items()}
    assert folders == {"inner": "saved", "outer": "saved", "other": "predicted"}
    mask = nibabel.load(tmp_path / str(data.training[0].masks["inner"]))
    np.testing.assert_array_equal(mask.affine, np.diag([1.0, 2, 3, 1]))
    assert mask.get_data_dtype() == np.uint8 and mask.get_fdata().all()
    assert data.training[0].image == f"/scans/{trained[0]}.nii.gz"


def test_a_region_that_is_annotated_in_training_scans_alone_is_judged_by_the_old_masks(tmp_path: Path) -> None:
    (trained,), (judged,) = split(["a", "b"], 0.2)
    scans = [saved(trained, {"inner": 1, "outer": 1}), saved(judged, {"inner": 1})]
    assert write_training_set(tmp_path, scans, REGIONS, SPACING, 0.2) == ["outer", "other"]
    data, judge = (read_datalist(tmp_path / f"{name}.json") for name in ("datalist", "holdout"))
    folders = {region: Path(str(mask)).parts[0] for region, mask in data.training[0].masks.items()}
    assert folders == {"inner": "saved", "outer": "saved", "other": "predicted"}
    folders = {region: Path(str(mask)).parts[0] for region, mask in judge.validation[0].masks.items()}
    assert folders == {"inner": "saved", "outer": "predicted", "other": "predicted"}


def test_what_the_served_model_was_trained_on_trains_again(tmp_path: Path) -> None:
    _, (judge,) = split(["a", "b"], 0.2)
    write_training_set(tmp_path, [saved(name, {"inner": 1}) for name in "ab"], REGIONS, SPACING, 0.2, {judge})
    data = read_datalist(tmp_path / "datalist.json")
    assert [scan.subject for scan in data.training] == [judge]
    assert [scan.subject for scan in data.validation] == [name for name in "ab" if name != judge]


def test_a_predicted_mask_that_training_would_not_see_is_left_out(tmp_path: Path) -> None:
    scan = saved("a", {"inner": 1})
    scan.predicted["outer"][:] = 0
    scan.predicted["outer"][1, 0, 0] = 1
    write_training_set(tmp_path / "fine", [scan], REGIONS, SPACING, 0.2)
    write_training_set(tmp_path / "coarse", [scan], REGIONS, [2.0, 2.0, 3.0], 0.2)  # voxels 0 and 2
    fine, coarse = (read_datalist(tmp_path / name / "datalist.json").training[0].masks for name in ("fine", "coarse"))
    assert set(fine) == {"inner", "outer", "other"} and set(coarse) == {"inner", "other"}


def test_one_scan_alone_judges_but_does_not_validate(tmp_path: Path) -> None:
    write_training_set(tmp_path, [saved("a", {"inner": 1})], REGIONS, SPACING, 0.2)
    data, judge = (read_datalist(tmp_path / f"{name}.json") for name in ("datalist", "holdout"))
    assert [len(part) for part in (data.training, data.validation, judge.validation)] == [1, 0, 1]


def test_nothing_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="annotate a scan and submit it first"):
        write_training_set(tmp_path, [saved("a", {})], REGIONS, SPACING, 0.2)
