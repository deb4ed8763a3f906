"""A finished run of a tiny network with random weights, as if it had been trained."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.commands import pack
from conemos_bundle.data.datalist import read_datalist
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.runs import RunRecord

PLAN = {"in_channels": 1, "spacing": [2.0, 2.0, 2.0], "patch_size": [24, 24, 16]}


@pytest.fixture(scope="session")
def run(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; its network finds some voxels of both regions in a scan of ``tiny_dataset``, not all."""
    folder = tmp_path_factory.mktemp("run")
    image = nibabel.load(tiny_dataset / "images" / "test_0.nii.gz").get_fdata()
    x = torch.from_numpy((image - image.min()) / np.ptp(image)).float()[None, None]
    for seed in range(200):
        torch.manual_seed(seed)
        network = FiLMUNet(num_regions=2, channels=(2, 4), norm="instance", film_position="before_activation").eval()
        with torch.no_grad():
            found = (network(x) > 0).float().mean(dim=(0, 2, 3, 4))
        if bool(((found > 0.05) & (found < 0.95)).all()) and abs(float(found[0] - found[1])) > 0.05:
            break
    torch.save(network.state_dict(), folder / "model.pt")
    RunRecord(str(folder), read_datalist(tiny_dataset / "datalist.json"), PLAN, network).write(None)
    return folder


@pytest.fixture(scope="session")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as a bundle, with its zip beside it."""
    folder = tmp_path_factory.mktemp("packed") / "tiny_regions"
    pack(str(run), str(folder), version="0.2.0", changes="tried", archive=True)
    return folder
