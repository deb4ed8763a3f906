"""``regions_per_scan`` of the configuration: one region of each patch is learned, or every annotated one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.errors import UsageError, UserError, find_user_error
from ignite.engine import Events

from tests.training.conftest import Build


def follow(trainer: Any, network: Any, steps: list[Any]) -> None:
    """Note of each step the images, the number of masks, and how many images were encoded at a time."""
    encode, encoded = network.encode, []
    network.encode = lambda image: encoded.append(len(image)) or encode(image)

    @trainer.on(Events.ITERATION_COMPLETED)
    def note() -> None:
        output = trainer.state.output
        steps.append((output["image"], int((trainer.state.batch["regions"] >= 0).sum()), encoded.copy()))
        encoded.clear()
        assert output["pred"].shape == output["label"].shape


LEARNERS = ["", "methods/dodnet", "methods/individual", "methods/mean_teacher"]


@pytest.mark.parametrize("method", LEARNERS)
def test_all_regions_of_a_scan_are_learned_where_that_is_asked_for(build: Build, tmp_path: Path, method: str) -> None:
    """The same draws and patches, one encoding of each image, more masks."""
    seen: dict[Any, list[Any]] = {1: [], "all": []}
    for chosen, steps in seen.items():
        folder = tmp_path / str(chosen)
        get = build(*[method] * bool(method), regions_per_scan=chosen, output_dir=folder, max_epochs=1)
        trainer = get("train::trainer")
        follow(trainer, get("network"), steps)
        trainer.run()
        row = json.loads((folder / "run.json").read_text())["settings"]
        assert row["regions_per_scan"] == chosen
        (epoch,) = csv.DictReader((folder / "curve.csv").read_text().splitlines())
        assert int(epoch["masks"]) == sum(masks for _, masks, _ in steps)
    assert len(seen[1]) == len(seen["all"]) == 3
    for (image, masks, _), (again, more, encoded) in zip(*seen.values(), strict=True):
        assert torch.equal(image, again)
        assert masks == len(image) <= more
        assert encoded == [len(image)]
    assert sum(more for _, more, _ in seen["all"]) > sum(masks for _, masks, _ in seen[1])


@pytest.mark.parametrize("method", ["psl_loss", "multi_layer", "multi_decoder"])
def test_methods_that_learn_all_regions_do_so_whatever_is_asked_for(build: Build, tmp_path: Path, method: str) -> None:
    weights = []
    for chosen in (1, "all"):
        get = build(f"methods/{method}", regions_per_scan=chosen, output_dir=tmp_path / str(chosen), max_epochs=1)
        assert get("settings")["regions_per_scan"] == "all"
        get("train::trainer").run()
        weights.append(get("network").state_dict())
        (row,) = csv.DictReader((tmp_path / str(chosen) / "curve.csv").read_text().splitlines())
        annotated = get("train::dataset").annotated
        assert int(row["masks"]) == sum(len(annotated[draw.scan]) for draw in get("train::sampler"))
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize("method", ["", "methods/mean_teacher"])
def test_learning_all_regions_is_resumed_exactly(build: Build, tmp_path: Path, method: str) -> None:
    def training(name: str) -> Callable[[str], Any]:
        return build(*[method] * bool(method), regions_per_scan="all", output_dir=tmp_path / name)

    whole = training("whole")
    whole("train::trainer").run()
    cut = training("cut")("train::trainer")

    @cut.on(Events.ITERATION_STARTED(once=5))
    def break_down() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        cut.run()
    resumed = training("cut")
    resumed("train::trainer").run()
    expected, found = (get("network").state_dict() for get in (whole, resumed))
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    rows = [(tmp_path / name / "curve.csv").read_text().splitlines() for name in ("whole", "cut")]
    masks = [[row["masks"] for row in csv.DictReader(lines)] for lines in rows]
    assert len(masks[0]) == 2 and masks[0] == masks[1]


def test_a_run_of_before_goes_on_with_one_region_per_scan_and_not_with_all(build: Build, tmp_path: Path) -> None:
    build(max_epochs=1, regions_per_scan=1)("train::trainer").run()
    file = tmp_path / "run" / "checkpoint.pt"
    saved = torch.load(file, weights_only=True)
    assert saved["identity"].pop("regions_per_scan") == 1
    torch.save(saved, file)
    with pytest.raises(UserError, match=r"other regions_per_scan \(1, now all\)"):
        build(max_epochs=1)("train::trainer").run()
    build(max_epochs=1, regions_per_scan=1)("train::trainer").run()


@pytest.mark.parametrize("overlays", [(), ("methods/psl_loss",), ("methods/pseudo_label",)])
def test_another_number_of_regions_is_refused_before_any_work(
    build: Build, tmp_path: Path, overlays: tuple[str, ...]
) -> None:
    with pytest.raises(Exception, match=".") as caught:
        build(*overlays, regions_per_scan=2)
    told = find_user_error(caught.value)
    assert isinstance(told, UsageError)
    assert str(told) == "--regions_per_scan 2: use 1, the region drawn, or all, those annotated"
    assert not (tmp_path / "run").exists()
