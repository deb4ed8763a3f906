"""What a grown model computes is compared with what it computed before, and that costs few passes of added regions."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.growing.identity import check_unchanged
from conemos_bundle.growing.model import Growing, read_growing
from conemos_bundle.networks import GrownUNet

REGIONS = ["outer", "inner core", "kernel", "stone"]


@pytest.fixture
def before(grown: Path) -> Growing:
    return read_growing(grown)


@pytest.fixture
def network(before: Growing) -> GrownUNet:
    """The model with one region more."""
    larger = GrownUNet(**{**before.network.arguments, "num_regions": 4, "added": 2})
    larger.base, larger.added[0] = copy.deepcopy(before.base), copy.deepcopy(before.network.added[0])
    return larger.eval()


def test_added_regions_are_computed_once_for_each_size(
    before: Growing, network: GrownUNet, caplog: pytest.LogCaptureFixture
) -> None:
    passes = [0, 0]

    def counted(k: int) -> None:
        passes[k] += 1

    for k, branch in enumerate(network.added):
        branch.register_forward_hook(lambda *_, k=k: counted(k))
    with caplog.at_level("INFO"):
        check_unchanged(before, network, REGIONS)
    assert passes == [2, 2]
    assert "checking that the 3 regions there were are computed as before" in caplog.text


@pytest.mark.parametrize("part", ["base", "added.0"])
def test_a_changed_weight_is_found(part: str, before: Growing, network: GrownUNet) -> None:
    with torch.no_grad():
        network.get_submodule(part).get_parameter("backbone.final.weight").mul_(1.001)
    with pytest.raises(UserError, match="would no longer be computed as before; nothing was saved"):
        check_unchanged(before, network, REGIONS)
