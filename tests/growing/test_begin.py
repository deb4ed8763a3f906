"""What an added region begins as: the choice of the smallest loss; a training that goes on has its weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.growing.begin import begin
from conemos_bundle.growing.model import Growing, read_growing
from conemos_bundle.networks import AddedRegion

from tests.training.small_training import assert_equal

CPU = torch.device("cpu")


@pytest.fixture
def model(run: Path) -> Growing:
    return read_growing(run)


def region(model: Growing) -> AddedRegion:
    return AddedRegion(**model.shape)


def joined_with(model: Growing) -> tuple[str, dict[str, Any]]:
    """What `add_region` says of the model."""
    return model.hash, model.record.plan.model_dump()


def difference(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return (logits - label).square().mean()


@torch.no_grad()
@pytest.mark.parametrize(("choice", "name"), [(None, "mean"), (0, "outer"), (1, "inner core")])
def test_it_begins_as_what_fits_best(choice: int | None, name: str, model: Growing, tmp_path: Path) -> None:
    expected, found = region(model), region(model)
    expected.begin_as(model.base, choice)
    images = torch.rand(2, 2, model.record.plan.in_channels, 16, 16, 16)
    batches = [{"image": image, "label": expected.eval()(image) + 0.01} for image in images]
    assert begin(found, model.folder, *joined_with(model), batches, difference, CPU, tmp_path) == name
    ours, theirs = found.state_dict(), expected.state_dict()
    ours = {key: tensor for key, tensor in ours.items() if not key.endswith("down")}  # random, times zero
    assert_equal(ours, {key: theirs[key] for key in ours})
    assert found.training


def test_a_training_that_goes_on_does_not_choose_again(model: Growing, tmp_path: Path) -> None:
    def no_batches() -> Iterator[dict[str, Any]]:
        raise AssertionError("a batch is drawn")
        yield

    (tmp_path / "checkpoint.pt").touch()
    assert begin(region(model), model.folder, *joined_with(model), no_batches(), difference, CPU, tmp_path) is None
