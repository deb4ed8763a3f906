"""The configurations: one step of training with each, evaluation and prediction with what came out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from conemos_bundle.cli.predict import predict
from conemos_bundle.errors import find_user_error
from conemos_bundle.runs.run import network_of
from conemos_bundle.utils.paths import bundle_folder
from monai.bundle import ConfigWorkflow

from tests.workflows import left_as_it_was

CONFIGS = bundle_folder() / "configs"
OTHERS = ("add_region", "evaluate", "multi_gpu_train", "multi_gpu_evaluate")
METHODS = ["train"] + [
    str(file.relative_to(CONFIGS).with_suffix(""))
    for file in sorted(CONFIGS.rglob("*.json"))
    if "overlay on train" in json.loads(file.read_text()).get("_desc_", "") and file.stem not in OTHERS
]
TINY: dict[str, Any] = {
    "max_epochs": 1,
    "steps_per_epoch": 1,
    "val_interval": 1,
    "num_workers": 0,
    "device": torch.device("cpu"),
    "spacing": [2.5, 2.0, 2.0],
    "most_voxels": 16**3,
    "channels": [4, 8, 8],
}
# paper.json says its own patch
TINY_FOR = {"paper": {"patch_size": [16, 16, 16], "augmentation::steps::deform::patch_size": [18, 18, 18]}}


@pytest.fixture(autouse=True, scope="module")
def what_workflows_leave_behind_in_the_process() -> Iterator[None]:
    with left_as_it_was():
        yield


def workflow(names: list[str], workflow_type: str = "train", **overrides: Any) -> ConfigWorkflow:
    return ConfigWorkflow(
        config_file=[str(CONFIGS / f"{name}.json") for name in names],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        workflow_type=workflow_type,
        bundle_root=str(bundle_folder()),
        **overrides,
    )


def test_inference_has_what_hosts_read(tmp_path: Path, tiny_dataset: Path) -> None:
    inference = workflow(
        ["inference"], "inference", dataset_dir=tiny_dataset / "images", load_pretrain=False, output_dir=tmp_path
    )
    inference.initialize()
    assert inference.check_properties() == []
    names = inference.parser.get_parsed_content("region_names")
    assert inference.network_def.num_regions == len(names)
    assert inference.parser.get_parsed_content("asked_regions") == names
    assert len(inference.dataset) == 7


def test_weights_whose_record_says_other_regions_are_refused(tmp_path: Path, tiny_dataset: Path, run: Path) -> None:
    scans = tiny_dataset / "images"
    inference = workflow(["inference"], "inference", dataset_dir=scans, ckpt_path=run / "model.pt", output_dir=tmp_path)
    with pytest.raises(Exception, match=".") as caught:
        inference.initialize()
    assert "its regions is ['outer', 'inner core'], that of the configuration" in str(find_user_error(caught.value))


def test_batch_inference_goes_on_where_it_was_cut(tmp_path: Path, tiny_dataset: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a", "b"):
        shutil.copy(tiny_dataset / "images" / "test_0.nii.gz", scans / f"{name}.nii.gz")

    def names(**options: Any) -> list[str]:
        """The scans that are segmented."""
        batch = workflow(
            ["inference", "batch_inference"],
            "inference",
            dataset_dir=scans,
            load_pretrain=False,
            output_dir=tmp_path / "out",
            **options,
        )
        batch.initialize()
        asked = [item["name"] for item in batch.parser.get_parsed_content("dataset::data")]
        batch.run()
        return asked

    assert names(regions=["anterior"]) == ["a", "b"]
    (tmp_path / "out" / "b" / "anterior.nii.gz").unlink()
    assert names(regions=["anterior"]) == ["b"]
    assert names(regions=["anterior"]) == []
    assert names(regions=["anterior"], mode="whole") == ["a", "b"]
    assert names(regions=["anterior"], mode="whole") == []
    os.utime(scans / "a.nii.gz", (1, 1))  # the same scan
    assert names(regions=["anterior"], mode="whole") == []
    shutil.copy(tiny_dataset / "images" / "training_1.nii.gz", scans / "a.nii.gz")
    assert names(regions=["anterior"], mode="whole") == ["a"]
    assert names(regions=["anterior"], output_format="labelmap") == ["a", "b"]
    assert names(regions=["posterior"], output_format="labelmap") == ["a", "b"]


def test_without_a_gpu_the_tensorrt_overlay_runs_the_network_itself(tmp_path: Path, tiny_dataset: Path) -> None:
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    inference = workflow(
        ["inference", "inference_trt"], "inference", dataset_dir=scan, load_pretrain=False, output_dir=tmp_path
    )
    inference.initialize()
    inference.run()
    assert inference.parser.get_parsed_content("network") is inference.network_def
    assert (tmp_path / "test_0" / "anterior.nii.gz").exists()


def test_without_a_datalist_one_line_says_what_to_do(tmp_path: Path) -> None:
    training = workflow(["train"], output_dir=tmp_path / "run")
    with pytest.raises(Exception, match=".") as caught:
        training.initialize()
    assert str(find_user_error(caught.value)).startswith("no datalist given: pass --datalist FILE")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("names", [["train"], ["train", "evaluate"]])
@pytest.mark.parametrize("regions", [["inner core", "outer"], ["outer"], "outer"])
def test_regions_in_another_order_are_refused_wherever_they_were_set(
    tmp_path: Path, tiny_dataset: Path, run: Path, names: list[str], regions: Any
) -> None:
    """Each channel would have another region's name."""
    places = {"output_dir": tmp_path / "run", "ckpt_path": run / "model.pt", "evaluation_dir": tmp_path / "run"}
    settings = {name: places[name] for name in (places if "evaluate" in names else ["output_dir"])}
    begun = workflow(names, datalist=tiny_dataset / "datalist.json", regions=regions, **settings)
    with pytest.raises(Exception, match=".") as caught:
        begun.initialize()
    told = str(find_user_error(caught.value))
    assert told.startswith(f"--regions {regions}: training takes") and told.endswith("outer, inner core; leave it out")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("names", [["train"], ["train", "evaluate"]])
def test_a_nesting_of_other_regions_is_refused_before_any_work(
    tmp_path: Path, tiny_dataset: Path, run: Path, names: list[str]
) -> None:
    places = {"output_dir": tmp_path / "run", "ckpt_path": run / "model.pt", "evaluation_dir": tmp_path / "run"}
    settings = {name: places[name] for name in (places if "evaluate" in names else ["output_dir"])}
    begun = workflow(names, datalist=tiny_dataset / "datalist.json", inside={"inner": "outer"}, **settings)
    with pytest.raises(Exception, match=".") as caught:
        begun.initialize()
    assert str(find_user_error(caught.value)).startswith("--inside: names 'inner', which 'regions' does not")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({}, "no scan given: pass --dataset_dir"),
        ({"regions": ["femur"]}, "region 'femur' is unknown; this model knows: hippocampus, anterior, posterior"),
        ({"inside": {"anterior": "brain"}}, "--inside: names 'brain', which 'regions' does not"),
    ],
)
def test_inference_refuses_in_one_line(
    tmp_path: Path, tiny_dataset: Path, options: dict[str, Any], answer: str
) -> None:
    if options:
        options["dataset_dir"] = tiny_dataset / "images" / "test_0.nii.gz"
    inference = workflow(["inference"], "inference", load_pretrain=False, output_dir=tmp_path / "out", **options)

    def start_and_run() -> None:
        inference.initialize()
        inference.run()

    with pytest.raises(Exception, match=".") as caught:
        start_and_run()
    assert str(find_user_error(caught.value)).startswith(answer)
    assert not (tmp_path / "out").exists()


def tiny_training(method: str, dataset: Path, folder: Path, **overrides: Any) -> ConfigWorkflow:
    names = list(dict.fromkeys(["train", method]))
    overrides = {"datalist": dataset / "datalist.json", **TINY, **TINY_FOR.get(method, {}), **overrides}
    training = workflow(names, output_dir=folder, **overrides)
    training.initialize()
    return training


@pytest.mark.parametrize("method", METHODS)
def test_training_has_the_properties_that_hosts_read(tmp_path: Path, tiny_dataset: Path, method: str) -> None:
    assert tiny_training(method, tiny_dataset, tmp_path).check_properties() == []


def test_individual_networks_take_regions_in_turn_whatever_rule_the_other_methods_follow(
    tmp_path: Path, tiny_dataset: Path
) -> None:
    training = tiny_training("methods/individual", tiny_dataset, tmp_path, sampling_rule="uniform")
    assert training.parser.get_parsed_content("train::sampler").rule == "in_turn"


def test_the_warm_up_of_the_paper_ends(tmp_path: Path, tiny_dataset: Path) -> None:
    training = tiny_training("paper", tiny_dataset, tmp_path, steps_per_epoch=2, warm_up_steps=1)
    loss = training.parser.get_parsed_content("loss")
    assert loss.warming_up
    training.run()
    assert not loss.warming_up


def test_a_run_goes_on_only_with_what_it_began_with(tmp_path: Path, tiny_dataset: Path) -> None:
    tiny_training("train", tiny_dataset, tmp_path).run()
    record = (tmp_path / "run.json").read_bytes()
    for changed in ({"seed": 1}, {"spacing": [3.0, 3.0, 3.0]}, {"network_def::skip": "first_conv"}, {"max_epochs": 2}):
        with pytest.raises(Exception, match=".") as caught:
            tiny_training("train", tiny_dataset, tmp_path, **changed).run()
        assert "checkpoint.pt: belongs to a run with other" in str(find_user_error(caught.value)), changed
        assert (tmp_path / "run.json").read_bytes() == record
    again = tiny_training("train", tiny_dataset, tmp_path)  # finished: nothing is left to do
    before = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["network"]
    again.run()
    assert again.trainer.state.iteration == 1
    after = again.network_def.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.fixture(scope="module", params=METHODS)
def finished_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    """The folder of a training of one step with a configuration."""
    folder = tmp_path_factory.mktemp(Path(request.param).name) / "run"
    training = tiny_training(request.param, tiny_dataset, folder)
    assert training.parser.get_parsed_content("plan") == {
        "in_channels": 1,
        "spacing": [2.5, 2.0, 2.0],
        "patch_size": [16, 16, 16],
        "whole_scans": False,
    }
    training.run()
    training.finalize()
    output = training.trainer.state.output
    assert output["image"].shape[1:] == (1, 16, 16, 16)
    assert len(output["image"]) == (4 if "individual" in request.param else 2)  # of each of two regions, two
    assert np.isfinite(output["loss"].item())
    return folder


def test_training_leaves_model_checkpoint_and_record(finished_run: Path) -> None:
    files = {".lock", "model.pt", "checkpoint.pt", "curve.csv", "run.json", "subjects.json", "tensorboard"}
    of_pseudo_labeling = {"individual_networks", "pseudo_labels"}
    assert {file.name for file in finished_run.iterdir()} - of_pseudo_labeling == files
    for record in finished_run.rglob("run.json"):  # pseudo-labeling's teacher has one too
        assert json.loads(record.read_text())["network"]["channels"] == TINY["channels"]
    record = json.loads((finished_run / "run.json").read_text())
    assert record["regions"] == ["outer", "inner core"]
    assert record["data"]["annotated"]["training"] == {"scans": 4, "outer": 3, "inner core": 2}
    weights = torch.load(finished_run / "model.pt", weights_only=True)
    network_of(record["network"]).load_state_dict(weights)
    checkpoint = torch.load(finished_run / "checkpoint.pt", weights_only=True)
    assert (checkpoint["epoch"], checkpoint["iteration"]) == (1, 1)
    assert 0 <= checkpoint["best"] <= 1
    moments = checkpoint["optimizer"]["state"]
    assert len(moments) == len(weights)  # every parameter has had a gradient


def evaluate(run: Path, datalist: Path, dataset: Path, split: str = "test") -> pd.DataFrame:
    evaluation = workflow(
        ["train", "evaluate"],
        datalist=datalist,
        dataset_dir=dataset,
        split=split,
        ckpt_path=run / "model.pt",
        output_dir=run,
        device=torch.device("cpu"),
    )
    evaluation.initialize()
    assert evaluation.check_properties() == []
    record = json.loads((run / "run.json").read_text())
    assert evaluation.parser.get_parsed_content("plan") == record["plan"]  # not what these scans would give
    evaluation.run()
    evaluation.finalize()
    return pd.read_csv(run / f"evaluation_{split}" / "per_scan.csv")


def test_evaluation_on_the_scans_own_grid(finished_run: Path, tiny_dataset: Path) -> None:
    rows = evaluate(finished_run, tiny_dataset / "datalist.json", tiny_dataset).set_index("region")
    assert sorted(rows.index) == ["inner core", "outer"]
    assert set(rows["scan"]) == {"test_0"}
    assert rows["dice"].between(0, 1).all()
    masks = {
        "outer": nibabel.load(tiny_dataset / "outer" / "test_0.nii.gz").get_fdata() == 1,
        "inner core": nibabel.load(tiny_dataset / "labels" / "test_0.nii.gz").get_fdata() == 2,
    }
    for region, mask in masks.items():
        assert rows.loc[region, "reference_ml"] == pytest.approx(mask.sum() * 8 / 1000)  # voxels of 8 mm³


def test_evaluation_only_where_annotated_whatever_the_order_of_the_regions(
    finished_run: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    data = json.loads((tiny_dataset / "datalist.json").read_text())
    data["regions"] = ["a region unknown to the model", *reversed(data["regions"])]
    (tmp_path / "other.json").write_text(json.dumps(data))
    files = (tiny_dataset / "datalist.json", tmp_path / "other.json")
    rows, of_other = (evaluate(finished_run, file, tiny_dataset, "validation") for file in files)
    pairs = [("validation_0", "inner core"), ("validation_0", "outer"), ("validation_1", "outer")]
    assert sorted(zip(rows["scan"], rows["region"], strict=True)) == pairs
    pd.testing.assert_frame_equal(of_other, rows)


@pytest.mark.parametrize("declared", [{}, {"inner core": "outer"}])
def test_declared_containment_holds_when_it_is_switched_on(
    tiny_dataset: Path, tmp_path: Path, declared: dict[str, str]
) -> None:
    data = json.loads((tiny_dataset / "datalist.json").read_text())
    (tmp_path / "datalist.json").write_text(json.dumps({**data, "inside": declared}))
    run = tmp_path / "run"
    options = {"datalist": tmp_path / "datalist.json", "dataset_dir": tiny_dataset}
    tiny_training("inside", tiny_dataset, run, **options).run()
    assert json.loads((run / "run.json").read_text())["inside"] == declared
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    predict(str(scan), output=str(tmp_path / "out"), model=str(run), device="cpu")
    inner, outer = (
        nibabel.load(tmp_path / "out" / "test_0" / f"{region}.nii.gz").get_fdata() for region in ("inner core", "outer")
    )
    assert inner.any()
    assert (inner > outer).any() != bool(declared)


def test_prediction_writes_the_region_asked_for_on_the_scans_own_grid(
    finished_run: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    predict(str(scan), regions="inner core", output=str(tmp_path / "out"), model=str(finished_run), device="cpu")
    written = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.*"))
    assert written == ["test_0/inner core.nii.gz", "test_0_volumes.json"]
    mask, image = nibabel.load(tmp_path / "out" / "test_0" / "inner core.nii.gz"), nibabel.load(scan)
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
    assert set(np.unique(mask.get_fdata())) <= {0, 1}
    volumes = json.loads((tmp_path / "out" / "test_0_volumes.json").read_text())
    assert list(volumes["regions"]) == ["inner core"]
    assert volumes["regions"]["inner core"]["voxels"] == int(mask.get_fdata().sum())
