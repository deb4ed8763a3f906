"""The app: which models it serves, what it answers, what it refuses. The bundle itself runs."""

from __future__ import annotations

import os
import shutil
import tempfile
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.files import write_in_one_step
from conemos_bundle.predictor import Predictor
from conemos_bundle.volumes.seg_nrrd import read_seg_nrrd

Label = types.SimpleNamespace
REGIONS = ["outer", "inner core"]


def served(label: Label, app_folder: Path, studies: Path | None = None) -> Any:
    return label.app.RegionApp(str(app_folder), str(studies or label.studies), {})


def test_thin_bundles_segment_and_only_the_whole_one_trains(label: Label, app_folder: Path) -> None:
    app = served(label, app_folder)
    assert sorted(app._infers) == ["tiny", "tiny_inner_core", "tiny_outer"]
    assert list(app._trainers) == ["tiny", "tiny_new_region"]
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
    assert list(app._trainers) == ["other", "tiny", "other_new_region", "tiny_new_region"]
    assert list(app._scoring_methods) == ["region_confidence_other", "region_confidence_tiny"]
    strategy = app._strategies["least_confident_region_tiny"]
    assert strategy.served.models == app_folder / "model" / "tiny" / "models"


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


def test_a_bundle_of_fixed_regions_does_not_ask_and_shares_the_model(
    label: Label, app_folder: Path, scan: Path
) -> None:
    app = served(label, app_folder)
    told = app.infer({"model": "tiny_inner_core", "image": str(scan), "regions": "femur"})["params"]["regions"]
    assert list(told) == ["inner core"] and told["inner core"]["value"] == 1
    assert app._infers["tiny_inner_core"].served is app._infers["tiny_outer"].served is app._infers["tiny"].served
    whole = app.infer({"model": "tiny", "image": str(scan), "regions": "inner core"})["params"]["regions"]
    assert whole["inner core"] == {**told["inner core"], "value": 2}


def test_regions_one_after_the_other_encode_the_scan_once(label: Label, app_folder: Path, scan: Path) -> None:
    app, encoded = served(label, app_folder), list[int]()
    model = app._infers["tiny"].served
    network = model.predictor("cpu")._network
    encode = network.encode
    network.encode = lambda image: (encoded.append(1), encode(image))[1]
    both = app.infer({"model": "tiny", "image": str(scan)})["params"]["regions"]
    once = len(encoded)
    assert once >= 1
    for request in ({"model": "tiny", "regions": "outer"}, {"model": "tiny", "regions": "inner core"}):
        told = app.infer({**request, "image": str(scan)})["params"]["regions"]
        assert told == {region: both[region] for region in told}
    app.infer({"model": "tiny_inner_core", "image": str(scan)})  # as 3D Slicer asks: a model per segment
    for task in (app._strategies["least_confident_region"], app._scoring_methods["region_confidence"]):
        assert task.served is model
    assert len(encoded) == once


def test_weights_that_a_training_replaced_are_served(label: Label, app_folder: Path, scan: Path) -> None:
    app, request = served(label, app_folder), {"model": "tiny", "image": str(scan), "regions": "outer"}
    weights = app_folder / "model" / "tiny" / "models" / "model.pt"
    before = app.infer(request)["params"]["regions"]["outer"]
    predictor = app._infers["tiny"].served.predictor("cpu")
    assert app._infers["tiny"].served.predictor("cpu") is predictor
    times = weights.stat()
    tensors = torch.load(weights, weights_only=True)
    tensors = {name: -tensor if "final" in name or tensor.dim() == 5 else tensor for name, tensor in tensors.items()}
    write_in_one_step(weights, lambda part: torch.save(tensors, part))
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # even where the clock says nothing
    after = app.infer(request)["params"]["regions"]["outer"]
    assert app._infers["tiny"].served.predictor("cpu") is not predictor
    expected = Predictor.load(weights.parents[1], "cpu", mode=None)(scan, "outer")
    assert after["voxels"] == expected.masks.sum() != before["voxels"]


def test_weights_that_are_broken_are_answered_with_400(label: Label, app_folder: Path, scan: Path) -> None:
    app, request = served(label, app_folder), {"model": "tiny", "image": str(scan)}
    app.infer(request)
    (app_folder / "model" / "tiny" / "models" / "model.pt").write_bytes(b"half")
    with pytest.raises(label.HTTPException, match=r"400: .*model\.pt: cannot be read as weights"):
        app.infer(request)


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
    assert not app._infers["tiny"].served._held


def test_a_scan_that_cannot_be_segmented_is_answered_with_400(label: Label, app_folder: Path, empty_scan: Path) -> None:
    with pytest.raises(label.HTTPException, match="400: .*empty.nii.gz: all voxels are equal"):
        served(label, app_folder, empty_scan.parent).infer({"model": "tiny", "image": "empty"})


def test_an_error_of_the_server_stays_one(label: Label, app_folder: Path, scan: Path) -> None:
    with pytest.raises(KeyError, match="none"):
        served(label, app_folder).infer({"model": "none", "image": str(scan)})


def test_scans_come_from_the_studies_alone(label: Label, app_folder: Path, scan: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    shutil.copy(scan, studies / "inside.nii.gz")
    (studies / "linked.nii.gz").symlink_to(scan)
    app = served(label, app_folder, studies)
    for inside in ("inside", str(studies / "inside.nii.gz")):
        assert list(app.infer({"model": "tiny", "image": inside})["params"]["regions"]) == REGIONS
    runs = app._infers["tiny"].runs
    wrong = [
        "linked",
        str(scan),
        "/etc/passwd",
        "../studies/inside.nii.gz",
        "none",
        "",
        "$1",
        ["inside"],
        None,
        5,
        {"a": 1},
    ]
    for image in wrong:
        with pytest.raises(label.HTTPException, match="400: image: ") as refused:
            app.infer({"model": "tiny", "image": image})
        assert "\n" not in refused.value.detail
    assert app._infers["tiny"].runs == runs


def test_what_was_sent_with_a_request_is_a_scan_where_the_servers_temporary_folder_is_its_own(
    label: Label, app_folder: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = served(label, app_folder, tmp_path)
    (tmp_path / "own").mkdir()
    sent = tmp_path / "own" / "tmpx.nii.gz"
    shutil.copy(scan, sent)
    monkeypatch.setattr(tempfile, "tempdir", str(sent.parent))
    app.studies, app._datastore = str(app_folder), label.Folder({})
    with pytest.raises(label.HTTPException, match="400: image: "):
        app.infer({"model": "tiny", "image": str(sent)})
    monkeypatch.setenv("CONEMOS_LABEL_SERVER", str(os.getpid()))
    assert app.infer({"model": "tiny", "image": str(sent)})["params"]
    sent.write_bytes(b"no scan")
    with pytest.raises(label.HTTPException, match="400: tmpx.nii.gz: cannot be read"):
        app.infer({"model": "tiny", "image": str(sent)})


def test_options_that_are_not_known_reach_nobody(label: Label, app_folder: Path, scan: Path) -> None:
    app, seen = served(label, app_folder), list[Any]()
    task = app._infers["tiny"]
    app._infers["tiny"] = lambda request: (seen.append(request), task(request))[1]
    evil = {
        "spacing": "$1",
        "overlap": "$1",
        "bundle_root": "$1",
        "skip_writer": True,
        "logging": "CRITICAL",
        "label": "/etc",
    }
    assert list(
        app.infer({"model": "tiny", "image": scan.name.partition(".")[0], "regions": "outer", **evil})["params"][
            "regions"
        ]
    )
    assert set(seen[0]) == {"model", "image", "regions"}
    with pytest.raises(label.HTTPException, match="400: result_extension: "):
        app.infer({"model": "tiny", "image": str(scan), "result_extension": "/../../../x"})


def test_twenty_at_once_have_the_answers_of_one_each(
    label: Label, app_folder: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, running, most = served(label, app_folder), list[int](), list[int]()
    theirs = label.app.BundleInferTask.__call__

    def counted(*arguments: Any) -> Any:  # MONAI Label's own mixes up two at once
        running.append(1)
        most.append(len(running))
        try:
            return theirs(*arguments)
        finally:
            running.pop()

    monkeypatch.setattr(label.app.BundleInferTask, "__call__", counted)
    alone = {region: app.infer({"model": "tiny", "image": str(scan), "regions": region}) for region in REGIONS}

    def ask(k: int) -> bool:
        answer = app.infer({"model": "tiny", "image": str(scan), "regions": REGIONS[k % 2]})
        expected = alone[REGIONS[k % 2]]
        return answer["params"] == expected["params"] and np.array_equal(answer["file"], expected["file"])

    with ThreadPoolExecutor(20) as threads:
        assert all(threads.map(ask, range(20)))
    assert len(most) == 22 and set(most) == {1}


def test_a_job_ends_with_the_server(label: Label, app_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()
    monkeypatch.setattr(label.app, "end_with_command", lambda: calls.append("watches"))
    served(label, app_folder)
    assert calls == []
    monkeypatch.setenv("CONEMOS_LABEL_SERVER", "1")
    served(label, app_folder)
    assert calls == ["watches"]


def test_a_bad_scan_does_not_end_a_batch(label: Label, app_folder: Path, scan: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    for name in "abcd":
        shutil.copy(scan, studies / f"{name}.nii.gz")
    (studies / "b.nii.gz").write_bytes(b"text")
    app = served(label, app_folder, studies)
    (studies / "c.nii.gz").unlink()
    answers: dict[str, Any] = {}
    batch = app._batch_infer
    app._batch_infer = lambda *given: answers.update(batch(*given)) or answers
    with pytest.raises(Exception, match=".") as error:
        app.batch_infer({"model": "tiny", "regions": "outer"})
    assert "2 of 4 scans were not segmented: b, c" in str(getattr(error.value, "detail", error.value))
    assert {name: bool(answer) for name, answer in answers.items()} == {"a": True, "b": False, "c": False, "d": True}
