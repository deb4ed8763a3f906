"""The temperature that is fitted when training ends."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conemos_bundle.cli import train
from conemos_bundle.runs.record import read_run
from conemos_bundle.training.calibration import MOST_VOXELS, fit_temperature, sample_logits, voxels_near

from tests.training.conftest import SMALL


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_answers_were_drawn_with_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 4, 200_000)
    answers = random.random(200_000) < 1 / (1 + np.exp(-logits / temperature))
    assert fit_temperature(logits, answers) == pytest.approx(temperature, rel=0.03)


def test_at_one_logit_the_probability_becomes_the_share_of_right_answers() -> None:
    found = fit_temperature([5.0] * 10, [1] * 9 + [0])
    assert 1 / (1 + math.exp(-5 / found)) == pytest.approx(0.9, abs=1e-4)


def test_extreme_answers_stay_in_the_range() -> None:
    assert fit_temperature([1, -1], [1, 0]) == pytest.approx(0.05, rel=0.01)
    assert fit_temperature([5, -5], [0, 1]) == pytest.approx(20, rel=0.01)


def test_voxels_near_a_region_are_known_ones_in_its_box_with_a_margin() -> None:
    target = torch.zeros(10, 9, 8)
    target[4:6, 4, 0] = 1
    target[5, 3, 1] = torch.nan
    near = voxels_near(target, 1)
    assert int(near.sum()) == 4 * 3 * 2 - 1  # cut off at the edge of the scan
    assert near[3, 3, 0] and near[6, 5, 1] and not near[2, 4, 0] and not near[5, 3, 1]
    assert not voxels_near(torch.zeros(4, 4, 4)).any()
    assert not voxels_near(torch.full((4, 4, 4), torch.nan)).any()


def test_answers_are_of_annotated_regions_alone_and_stand_beside_their_logits() -> None:
    label = torch.zeros(3, 12, 12, 12)
    label[0] = torch.nan  # not annotated
    label[2, 3:6, 3:6, 3:6] = 1  # and region 1 is absent
    asked = []

    def inferer(image: torch.Tensor, network: torch.nn.Module, regions: torch.Tensor) -> torch.Tensor:
        asked.append(regions.tolist())
        return torch.stack([2 * label[k] - 1 for k in regions.tolist()])[None]

    item = {"image": torch.zeros(1, 12, 12, 12), "label": label}
    logits, targets = sample_logits([item, item], torch.nn.Identity(), inferer, torch.device("cpu"))
    assert asked == [[2], [2]] and len(logits) == 2 * 12**3
    np.testing.assert_array_equal(logits, 2 * targets - 1)
    assert targets.sum() == 2 * 27


def test_large_scans_give_some_voxels_the_same_at_each_call() -> None:
    item = {"image": torch.zeros(1, 32, 32, 32), "label": torch.ones(1, 32, 32, 32)}
    scan = torch.arange(32.0**3).view(1, 1, 32, 32, 32)

    def sample() -> np.ndarray:
        return sample_logits([item], torch.nn.Identity(), lambda *_, **__: scan, torch.device("cpu"))[0]

    one = sample()
    assert len(set(one)) == MOST_VOXELS and (one == sample()).all() and one.std() > 32**3 / 5


def test_no_scan_that_shows_a_region_gives_nothing() -> None:
    item = {"image": torch.zeros(1, 4, 4, 4), "label": torch.zeros(1, 4, 4, 4)}
    logits, targets = sample_logits([item], torch.nn.Identity(), lambda: None, torch.device("cpu"))  # type: ignore[arg-type]
    assert len(logits) == len(targets) == 0


def test_training_records_the_temperature_of_the_weights_that_it_leaves(
    tiny_dataset: Path, tmp_path: Path, what_workflows_leave_behind_in_the_process: None
) -> None:
    options = {"output_dir": str(tmp_path / "run"), **SMALL}
    train(str(tiny_dataset / "datalist.json"), **options)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert 0.05 <= record["temperature"] <= 20 and record["regions"] == ["outer", "inner core"]

    torch.manual_seed(1)
    train(str(tiny_dataset / "datalist.json"), **options)  # is over, and so fitted again of the same weights
    assert read_run(tmp_path / "run" / "run.json").temperature == record["temperature"]

    weights = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    last = [name for name in weights if name.endswith((".weight", ".bias"))][-2:]
    torch.save({**weights, **{name: 50 * weights[name] for name in last}}, tmp_path / "run" / "model.pt")
    train(str(tiny_dataset / "datalist.json"), **options)
    assert read_run(tmp_path / "run" / "run.json").temperature != record["temperature"]
