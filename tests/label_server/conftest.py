"""A model of `tiny_dataset`'s regions, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conemos_bundle.data.datalist import read_datalist
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.runs import RunRecord


@pytest.fixture(scope="session")
def finished_models(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model.pt`` and ``run.json``."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = FiLMUNet(num_regions=2, channels=(2, 4), norm="instance", film_position="before_activation")
    torch.save(network.state_dict(), folder / "model.pt")
    plan = {"in_channels": 1, "spacing": [2.0, 2.0, 2.0], "patch_size": [16, 16, 16]}
    RunRecord(str(folder), read_datalist(tiny_dataset / "datalist.json"), plan, network).write(None)
    return folder
