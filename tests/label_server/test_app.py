"""The app: which models it serves, what it answers, what it refuses. The bundle itself runs."""

from __future__ import annotations

import shutil
import types
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conemos_bundle.transforms.seg_nrrd import read_seg_nrrd

Label = types.SimpleNamespace
REGIONS = ["outer", "inner core"]


def served(label: Label, app_folder: Path) -> Any:
    return label.app.RegionApp(str(app_folder), "studies", {})


def test_thin_bundles_segment_and_only_the_whole_one_trains(label: Label, app_folder: Path) -> None:
    app = served(label, app_folder)
    assert sorted(app._infers) == ["tiny", "tiny_inner_core", "tiny_outer"]
    assert list(app._trainers) == ["tiny"]
    assert list(app._strategies) == ["first", "random", "least_confident_region"]
    assert list(app._scoring_methods) == ["region_confidence"]
    assert app._infers["tiny"]._config == {
        "device": ["cpu"], "model_filename": ["model.pt"], "regions": "", "region_outer": True,
        "region_inner core": True, "output_format": ["labelmap", "seg.nrrd"],
    }  # fmt: skip
    assert not any(option.startswith("region") for option in app._infers["tiny_outer"]._config)


def test_of_two_models_each_has_its_proposals(label: Label, app_folder: Path) -> None:
    shutil.copytree(app_folder / "model" / "tiny", app_folder / "model" / "other")
    app = served(label, app_folder)
    assert list(app._trainers) == ["other", "tiny"]
    assert list(app._scoring_methods) == ["region_confidence_other", "region_confidence_tiny"]
    strategy = app._strategies["least_confident_region_tiny"]
    assert strategy.segmenter.models == app_folder / "model" / "tiny" / "models"


@pytest.mark.parametrize(
    ("request_", "regions"),
    [
        ({}, REGIONS),
        ({"regions": ["inner core"]}, ["inner core"]),
        ({"regions": "INNER CORE, outer"}, ["inner core", "outer"]),
        ({"region_inner core": False}, ["outer"]),
        ({"regions": "inner core", "region_inner core": False}, ["inner core"]),
        ({"output_format": ["labelmap", "seg.nrrd"], "device": ["cpu"]}, REGIONS),  # untouched: MONAI Label sends lists
    ],
)
def test_the_label_map_holds_the_regions_asked_for(
    request_: dict[str, Any], regions: list[str], label: Label, app_folder: Path, scan: Path
) -> None:
    answer = served(label, app_folder).infer({"model": "tiny", "image": str(scan), **request_})
    told = answer["params"]["regions"]
    assert list(told) == regions and all(region["voxels"] > 100 for region in told.values())
    values = [value for value in np.unique(answer["file"]) if value]
    # the inner core is painted last: it hides what it covers of the outer region, and is shown whole
    assert set(values) <= {told[region]["value"] for region in regions}
    if "inner core" in regions:
        assert (answer["file"] == 2).sum() == told["inner core"]["voxels"]


def test_segments_that_overlap_on_the_scans_grid(label: Label, app_folder: Path, scan: Path) -> None:
    request = {"model": "tiny", "image": str(scan), "regions": "inner core, outer", "output_format": "seg.nrrd"}
    answer = served(label, app_folder).infer(request)
    assert answer["file"].endswith(".seg.nrrd")
    masks, affine, names = read_seg_nrrd(answer["file"])
    Path(answer["file"]).unlink()
    assert names == ["inner core", "outer"]
    assert [int(mask.sum()) for mask in masks] == [told["voxels"] for told in answer["params"]["regions"].values()]
    image = nibabel.load(scan)
    assert masks.shape[1:] == image.shape
    np.testing.assert_allclose(affine, image.affine, atol=1e-5)


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        ({"regions": "femur"}, "region 'femur' is unknown; this model knows: outer, inner core"),
        (
            {"region_outer": False, "region_inner core": False},
            "no region is ticked; tick at least one of: outer, inner",
        ),
        ({"output_format": "png"}, "output_format: use one of labelmap, seg.nrrd"),
        ({"device": "$exit()"}, "device: use one of cpu"),
        ({"model_filename": "../../secret.pt"}, "model_filename: use one of model.pt"),
    ],
)
def test_what_there_is_not_is_answered_with_400_and_logged(
    request_: dict[str, Any], detail: str, label: Label, app_folder: Path, scan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(label.HTTPException) as refused:
        served(label, app_folder).infer({"model": "tiny", "image": str(scan), **request_})
    assert refused.value.status_code == 400 and refused.value.detail.startswith(detail)
    assert f"refused: {refused.value.detail}" in caplog.messages


@pytest.mark.parametrize("option", ["device", "model_filename", "output_format"])
def test_what_monai_label_would_pass_on_is_refused_before_it_sees_it(
    option: str, label: Label, app_folder: Path, scan: Path
) -> None:
    app = served(label, app_folder)
    with pytest.raises(label.HTTPException):
        app.infer({"model": "tiny", "image": str(scan), option: "$1"})
    assert app._infers["tiny"].runs == 0


def test_a_scan_that_cannot_be_segmented_is_answered_with_400(label: Label, app_folder: Path, empty_scan: Path) -> None:
    with pytest.raises(label.HTTPException, match="400: .*empty.nii.gz: all voxels are equal"):
        served(label, app_folder).infer({"model": "tiny", "image": str(empty_scan)})


def test_an_error_of_the_server_stays_one(label: Label, app_folder: Path, scan: Path) -> None:
    with pytest.raises(KeyError, match="none"):
        served(label, app_folder).infer({"model": "none", "image": str(scan)})
