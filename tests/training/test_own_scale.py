"""``scales`` of the configuration: each region at a spacing of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.data.sampling import Sample
from conemos_bundle.errors import UsageError, UserError, find_user_error
from conemos_bundle.scales import levels, spacings
from ignite.engine import Events

from tests.training.conftest import Build

SCALES: dict[str, Any] = {
    "outer": {"factor": [2, 2, 2], "found_at": None},
    "inner core": {"factor": [1, 1, 1], "within": "outer", "found_at": [2, 2, 2]},
}


def test_the_condition_the_patches_and_the_record_know_the_scales(build: Build, tmp_path: Path) -> None:
    get = build(scales=SCALES, cross_entropy=0.5)
    trainer, seen = get("train::trainer"), []

    @trainer.on(Events.ITERATION_COMPLETED)
    def note() -> None:
        seen.append((trainer.state.batch["regions"], trainer.state.output))

    trainer.run()
    plan = get("plan")
    assert levels(plan["scales"]) == [(1, 1, 1), (2, 2, 2)]
    assert get("network").arguments["spacings"] == [[2.5, 2, 2], [5, 4, 4]] == spacings(plan)
    codes = {int(code) for regions, _ in seen for code in regions.flatten()} - {-1}
    assert codes <= {1, 2, 3}  # K = 2: the outer region at level 1, the inner one at both
    assert codes >= {1, 2}
    for _, output in seen:
        assert output["image"].shape[2:] == tuple(plan["patch_size"])
        assert output["label"].shape[2:] == tuple(plan["patch_size"])
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["plan"]["scales"]["inner core"]["found_at"] == [2, 2, 2]
    assert record["network"]["spacings"] == [[2.5, 2, 2], [5, 4, 4]]


@pytest.mark.parametrize(
    ("draw", "codes"),
    [(Sample(3, 0, 1, level=1), [2, 3]), (Sample(3, 1, 1, level=1), [2, 3]), (Sample(3, 1, 1, level=0), [1])],
)
def test_regions_beside_the_drawn_one_are_those_of_its_level(build: Build, draw: Sample, codes: list[int]) -> None:
    """The fourth training scan annotates both regions."""
    item = build(scales=SCALES)("train::dataset")[draw]
    assert sorted(code for code in item["regions"].tolist() if code >= 0) == codes


def test_what_a_mean_teacher_is_asked_is_of_the_level_of_the_patch(build: Build) -> None:
    """The first training scan annotates the outer region alone, the third the inner one."""
    dataset = build(scales=SCALES)("train::dataset")
    assert dataset[Sample(0, 0, 1, level=1)]["unannotated"].tolist() == [3]
    assert dataset[Sample(2, 1, 1, level=1)]["unannotated"].tolist() == [2]
    assert dataset[Sample(2, 1, 1, level=0)]["unannotated"].tolist() == [-1]  # the outer one is not seen so finely


def test_each_level_has_patches_of_its_own_size(build: Build) -> None:
    sizes = {"outer": {**SCALES["outer"], "patch_size": [16, 16, 8]}, "inner core": {**SCALES["inner core"]}}
    get = build(scales=sizes)
    dataset, seen = get("train::dataset"), set()
    for draw in get("train::sampler"):
        item = dataset[draw]
        seen.add((draw.level, tuple(item["image"].shape[1:])))
        assert item["label"].shape[1:] == item["image"].shape[1:]
    assert seen == {(0, (16, 16, 16)), (1, (16, 16, 8))}


def test_soft_dice_alone_by_default(build: Build) -> None:
    assert build(scales=SCALES)("loss").cross_entropy == 0
    assert build()("loss").cross_entropy == 1


def test_one_scale_is_as_it_was(build: Build, tmp_path: Path) -> None:
    get = build()
    assert "scales" not in get("plan")
    assert "spacings" not in get("network").arguments


def test_a_training_at_own_scales_is_resumed_exactly(build: Build, tmp_path: Path) -> None:
    whole = build(scales=SCALES, output_dir=tmp_path / "whole")
    whole("train::trainer").run()
    cut = build(scales=SCALES, output_dir=tmp_path / "cut")("train::trainer")

    @cut.on(Events.ITERATION_STARTED(once=5))
    def break_down() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        cut.run()
    resumed = build(scales=SCALES, output_dir=tmp_path / "cut")
    resumed("train::trainer").run()
    expected, found = (get("network").state_dict() for get in (whole, resumed))
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    with pytest.raises(UserError, match="other"):
        build(output_dir=tmp_path / "cut")("train::trainer").run()


@pytest.mark.parametrize("method", ["psl_loss", "dodnet", "multi_layer", "multi_decoder"])
def test_a_method_that_knows_one_spacing_is_refused(build: Build, method: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=".") as caught:
        build(f"methods/{method}", scales=SCALES)
    told = find_user_error(caught.value)
    assert isinstance(told, UsageError)
    assert "has one spacing for all regions" in str(told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["individual", "mean_teacher"])
def test_other_methods_with_scales(build: Build, method: str, tmp_path: Path) -> None:
    get = build(f"methods/{method}", scales=SCALES, max_epochs=1)
    get("train::trainer").run()
    assert (tmp_path / "run" / "model.pt").exists()


def test_a_wrong_scale_is_refused_before_any_work(build: Build, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=".") as caught:
        build(scales="fine")
    assert "--scales 'fine': use one, own" in str(find_user_error(caught.value))
    assert not (tmp_path / "run").exists()
