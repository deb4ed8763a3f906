"""What the configurations wire together: a value changed in JSON, or one that goes astray, makes a test here fail."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.data.datalist import read_datalist
from conemos_bundle.transforms.spatial import RandDeformd
from monai.transforms import (
    AsDiscreted,
    Compose,
    RandAdjustContrastd,
    RandBiasFieldd,
    RandCropByPosNegLabeld,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandSimulateLowResolutiond,
)

from tests.training.conftest import BARE, CONFIGS, SMALL, Build


def transforms(compose: Compose) -> dict[type, Any]:
    return {type(each): each for each in compose.transforms}


def handlers(get: Callable[[str], Any]) -> list[str]:
    return [type(each).__name__ for each in get("train::handlers")[0].handlers]


def test_handlers_stand_in_the_one_order_that_works(build: Build) -> None:
    assert handlers(build()) == [
        "SetEpoch", "LrScheduleHandler", "ValidationHandler", "MaskCount", "Curve", "Checkpoint", "RunRecord",
        "Progress", "Calibration", "TensorBoardStatsHandler",
    ]  # fmt: skip


def test_further_processes_load_the_checkpoint_and_write_nothing(build: Build, tmp_path: Path) -> None:
    get = build(rank=1)
    assert handlers(get) == ["SetEpoch", "LrScheduleHandler", "ValidationHandler", "MaskCount", "Checkpoint"]
    assert get("validate::handlers")[0].handlers == []
    assert torch.initial_seed() == 1  # of its own draws
    assert not (tmp_path / "run").exists()


def test_what_is_trained_is_told_and_flips_of_regions_with_a_side_are_warned_of(
    build: Build, tiny_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (tiny_dataset / "datalist.json").read_text().replace('"inner core"', '"left core"')
    data = tmp_path / "datalist.json"
    data.write_text(text)
    settings = {"datalist": data, "dataset_dir": tiny_dataset}
    progress = next(
        each for each in build(**settings)("train::handlers")[0].handlers if type(each).__name__ == "Progress"
    )
    assert progress.about.startswith("CoNeMOS on 4 scans (outer in 3, left core in 2); 2 patches a step, of 16 x")
    assert "left is right" not in caplog.text
    build(**settings, flip_probability=[0.5, 0, 0])("train::handlers")
    assert "'left core'" in caplog.text and "--flip_probability [0, 0, 0]" in caplog.text


def test_without_validation_scans_nothing_validates(build: Build, tiny_dataset: Path, tmp_path: Path) -> None:
    data = json.loads((tiny_dataset / "datalist.json").read_text())
    (tmp_path / "datalist.json").write_text(json.dumps({**data, "validation": []}))
    get = build(datalist=tmp_path / "datalist.json", dataset_dir=tiny_dataset)
    assert "ValidationHandler" not in handlers(get)
    readers = [each for each in get("train::handlers")[0].handlers if hasattr(each, "evaluator")]
    assert len(readers) == 3 and all(each.evaluator is None for each in readers)


def test_each_split_is_used_for_what_it_is_for(build: Build, tiny_dataset: Path) -> None:
    data = read_datalist(tiny_dataset / "datalist.json")
    get = build()
    for split, items in (("training", get("train::dataset").data), ("validation", get("validate::dataset::data"))):
        assert [item["subject"] for item in items] == [scan.subject for scan in data.scans(split) if scan.masks]


def test_the_learning_rate_follows_a_cosine_over_all_steps_down_to_a_hundredth(build: Build, tmp_path: Path) -> None:
    get = build(learning_rate=0.004, val_interval=2)
    assert get("lr_scheduler").T_max == 6
    get("train::trainer").run()
    rows = list(csv.DictReader((tmp_path / "run" / "curve.csv").read_text().splitlines()))
    final, span = 0.00004, 0.00396
    expected = [final + span * (1 + math.cos(math.pi * step / 6)) / 2 for step in (3, 6)]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(expected)
    assert [bool(row["validation_dice"]) for row in rows] == [False, True]  # each second epoch


def test_an_epoch_has_steps_of_one_batch(build: Build) -> None:
    get = build(batch_size=5)
    assert (get("train::dataloader").batch_size, len(get("train::dataloader"))) == (5, 3)
    assert get("train::sampler").num_samples == 15


def test_a_gpu_is_fed_without_waiting(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    get = build()
    assert (get("optimizer").defaults["fused"], get("train::trainer").non_blocking) == (True, True)
    monkeypatch.setattr("conemos_bundle.training.defaults.pin_memory", lambda device: True)
    assert (get("train::dataloader").pin_memory, build()("train::dataloader").pin_memory) == (False, True)


def test_the_seed_and_the_process_reach_the_draws(build: Build) -> None:
    sampler = build(seed=7, rank=2)("train::sampler")
    assert (sampler.seed, sampler.rank) == (7, 2)
    assert list(sampler) != list(build(seed=8, rank=2)("train::sampler"))


def test_individual_networks_have_a_batch_each(build: Build) -> None:
    get = build("methods/individual", batch_size=5)
    assert (get("train::dataloader").batch_size, len(get("train::dataloader"))) == (10, 3)  # of two regions
    assert get("train::sampler").num_samples == 30


@pytest.mark.parametrize("chosen", [True, False])
def test_mixed_precision_reaches_training_validation_and_the_teacher(build: Build, chosen: bool) -> None:
    get = build("methods/mean_teacher", bfloat16=chosen)
    assert get("train::inferer").keywords == {"bfloat16": chosen}
    assert get("validate::inferer").keywords["bfloat16"] is chosen
    assert get("mean_teacher").bfloat16 is chosen


def test_the_teacher_goes_into_the_checkpoint(build: Build) -> None:
    """Else it would begin again, as the network is then, where training is resumed."""
    get = build("methods/mean_teacher")
    checkpoint = next(each for each in get("train::handlers")[0].handlers if type(each).__name__ == "Checkpoint")
    assert checkpoint.also == {"teacher": get("mean_teacher").teacher}


def test_validation_is_in_windows_of_the_patch(build: Build) -> None:
    given = build("inside")("validate::inferer").keywords
    assert (given["mode"], given["window"]) == ("window", [16, 16, 16])


def test_the_weight_decay_of_film_reaches_the_optimizer(build: Build) -> None:
    others, film = build(film_weight_decay=0.25)("optimizer").param_groups
    assert (others["weight_decay"], film["weight_decay"]) == (0, 0.25)


@pytest.mark.parametrize(("patch_size", "weight"), [([16, 16, 16], 1.0), ([16, 24, 16], 0.0)])
def test_cross_entropy_is_left_out_where_a_patch_covers_a_scan(
    build: Build, patch_size: list[int], weight: float
) -> None:
    small = {**SMALL, "patch_size": patch_size}  # scans have 16 × 18 × 16 voxels of this spacing
    assert build(small=small)("loss").cross_entropy == weight
    assert build(small=small, cross_entropy=0.3)("loss").cross_entropy == 0.3


@pytest.fixture
def finished(run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to evaluate into."""
    return Path(shutil.copytree(run, tmp_path / "finished"))


@pytest.mark.parametrize("overlays", [(), ("evaluate",)])
def test_a_region_is_where_its_probability_is_above_a_half(
    build: Build, overlays: tuple[str, ...], finished: Path
) -> None:
    logits = torch.tensor([0.45, 0.49, 0.51, 0.55]).logit()
    steps = build(*overlays, output_dir=finished)("validate::postprocessing").transforms
    activate, threshold = steps[0], next(each for each in steps if isinstance(each, AsDiscreted))
    assert threshold(activate({"pred": logits}))["pred"].tolist() == [0, 0, 1, 1]


def test_evaluation_is_of_the_runs_own_weights_and_goes_beside_them(build: Build, finished: Path) -> None:
    get = build("evaluate", output_dir=finished, split="validation")
    assert get("ckpt_path") == str(finished / "model.pt")
    assert get("evaluation_dir") == str(finished / "evaluation_validation")
    assert get("validate::report").output_dir == finished / "evaluation_validation"
    label = get("validate::dataset")[0]["label"]
    assert label.shape == (2, 20, 18, 16)  # on the scan's own grid
    assert get("validate::inferer").keywords["bfloat16"] is False


def test_the_default_training(build: Build) -> None:
    get = build(small=BARE)
    names = ("max_epochs", "steps_per_epoch", "batch_size", "val_interval", "seed", "rotation_degrees")
    assert [get(name) for name in names] == [20, 200, 2, 1, 0, 15]
    assert [group["lr"] for group in get("optimizer").param_groups] == [1e-3, 1e-3]
    assert (get("lr_scheduler").T_max, get("lr_scheduler").eta_min) == (4000, pytest.approx(1e-5))
    assert (get("train::sampler").rule, get("train::sampler").num_samples) == ("uniform", 400)
    network = get("network_def")
    assert network is get("network") is get("train::trainer").network
    expected = {"channels": [16, 32, 64, 128], "norm": "instance", "film_position": "before_activation"}
    assert expected.items() <= network.arguments.items()
    assert (network.arguments["in_channels"], network.arguments["num_regions"]) == (1, 2)


def test_the_default_augmentation(build: Build) -> None:
    found = transforms(build()("augmentation"))
    crop, deform = found[RandCropByPosNegLabeld], found[RandDeformd]
    assert (list(crop.cropper.spatial_size), crop.label_key, crop.image_key) == ([20, 20, 20], "foreground", "known")
    assert crop.cropper.pos_ratio == pytest.approx(1 / 3)
    assert (deform.prob, deform.scaling, deform.shearing, deform.translation) == (0.95, 0.2, 0.012, 4)
    assert (deform.elastic_std, deform.elastic_grid, deform.patch_size) == (2.0, 12, [16, 16, 16])
    assert deform.rotation == [math.radians(15)] * 3
    bias, smooth = found[RandBiasFieldd], found[RandGaussianSmoothd]
    assert (bias.prob, list(bias.rand_bias_field.coeff_range), bias.rand_bias_field.degree) == (0.5, [0.0, 0.2], 3)
    assert smooth.prob == 0.1
    assert all(list(getattr(smooth.rand_smooth, f"sigma_{axis}")) == [0.3, 0.8] for axis in "xyz")
    assert found[RandSimulateLowResolutiond].prob == 0.15
    assert tuple(found[RandSimulateLowResolutiond].sim_lowres_tfm.zoom_range) == (0.5, 1.0)
    assert (found[RandAdjustContrastd].prob, found[RandAdjustContrastd].adjuster.gamma) == (0.5, (0.7, 1.5))
    assert (found[RandGaussianNoised].prob, found[RandGaussianNoised].rand_gaussian_noise.std) == (0.5, 0.05)


def test_the_settings_of_the_paper(build: Build) -> None:
    get = build("paper", small={**BARE, "patch_size": [16, 16, 16]}, steps_per_epoch=500)
    others, film = get("optimizer").param_groups
    assert (others["lr"], film["lr"], film["weight_decay"]) == (1e-5, 1e-5, 2e-5)
    assert (get("max_epochs") * get("steps_per_epoch"), get("batch_size"), get("val_interval")) == (50_000, 2, 5)
    assert (get("train::sampler").rule, get("bfloat16")) == ("inverse_size", False)
    assert build("paper", small={**BARE, "patch_size": [16, 16, 16]})("settings")["regions_per_scan"] == 1
    pinned = {
        "sampling_rule": "inverse_size",
        "regions_per_scan": 1,
        "n_conditioned": None,
    }.items()  # whatever the default is
    assert pinned <= json.loads((CONFIGS / "paper.json").read_text()).items()
    assert get("network_def").arguments["n_conditioned"] is None
    assert get("lr_scheduler").factor == 1.0  # the rate stays
    assert (get("loss").steps, get("train::trainer").network.arguments["skip"]) == (1000, "first_conv")
    found = transforms(get("augmentation"))
    assert [type(each).__name__ for each in get("augmentation").transforms] == [
        "RandDeformd", "RandSpatialCropd", "RandFlipd", "RandFlipd", "RandFlipd", "RandBiasFieldd",
        "RandSimulateLowResolutiond", "ScalePercentilesd", "RandGaussianNoised", "RandAdjustContrastd",
    ]  # fmt: skip
    assert (found[RandDeformd].patch_size, found[RandDeformd].rotation) == ([128] * 3, [math.pi] * 3)
    assert (found[RandGaussianNoised].prob, found[RandGaussianNoised].rand_gaussian_noise.std) == (0.9, 0.01)
    assert found[RandAdjustContrastd].adjuster.gamma == (0.45, 2.2)
    assert get("train::trainer").network is get("network_def")


def test_the_decoder_is_conditioned_and_every_mask_learned_unless_told_otherwise(build: Build) -> None:
    get = build(small={**BARE, "patch_size": [16, 16, 16], "channels": [2, 3, 4]})
    assert (get("network_def").arguments["n_conditioned"], get("settings")["regions_per_scan"]) == (5, "all")
    get = build("methods/individual", small={**BARE, "patch_size": [16, 16, 16]})
    assert get("settings")["regions_per_scan"] == 1  # each of its batches is of one region
    get = build("methods/dodnet", small={**BARE, "patch_size": [16, 16, 16]})
    assert get("settings")["regions_per_scan"] == "all"
    get = build(small={**BARE, "patch_size": [16, 16, 16]}, n_conditioned=None, regions_per_scan=1)
    assert get("network_def").arguments["n_conditioned"] is None
    assert get("settings")["regions_per_scan"] == 1


def test_what_a_run_records_and_is_recognized_by(build: Build) -> None:
    """Runs of before are resumed and read: a setting more in the identity refuses them, but for `began_with`."""
    get = build("methods/individual", pretrained="abc")
    found = {type(each).__name__: each for each in get("train::handlers")[0].handlers}
    assert found["RunRecord"].record["settings"] == {
        "method": "Individual networks", "fraction": 1.0, "seed": 0, "max_epochs": 2, "steps_per_epoch": 3,
        "batch_size": 2, "learning_rate": 0.001, "sampling_rule": "in_turn", "regions_per_scan": 1,
        "bfloat16": False, "cross_entropy": 1.0,
    }  # fmt: skip
    identity = dict(found["Checkpoint"].identity)
    assert len(identity.pop("datalist")) == 16
    assert identity == {
        "method": "Individual networks", "seed": 0, "max_epochs": 2, "steps_per_epoch": 3, "batch_size": 2,
        "learning_rate": 0.001, "film_weight_decay": 0.0, "cross_entropy": 1.0, "sampling_rule": "in_turn",
        "regions_per_scan": 1, "bfloat16": False, "val_interval": 1, "rotation_degrees": 15,
        "flip_probability": [0.0, 0.0, 0.0], "pretrained": "abc", "plan": get("plan"), "minutes": None,
        "network": get("network_def").arguments,
    }  # fmt: skip
