"""Objects of train.json, as its workflow makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.utils.paths import bundle_folder
from monai.bundle import ConfigWorkflow

from tests.workflows import left_as_it_was

CONFIGS = bundle_folder() / "configs"
SMALL: dict[str, Any] = {
    "max_epochs": 2, "steps_per_epoch": 3, "num_workers": 0, "device": torch.device("cpu"), "bfloat16": False,
    "spacing": [2.5, 2.0, 2.0], "most_voxels": 16**3, "channels": [4, 8],
}  # fmt: skip
BARE = {key: SMALL[key] for key in ("num_workers", "device", "spacing", "most_voxels")}  # what depends on the machine
Build = Callable[..., Any]


@pytest.fixture
def what_workflows_leave_behind_in_the_process() -> Iterator[None]:
    with left_as_it_was():
        yield


@pytest.fixture
def build(tiny_dataset: Path, tmp_path: Path, what_workflows_leave_behind_in_the_process: None) -> Build:
    """``build(overlay, …)(id)``: an object of train.json with overlays and settings."""

    def configure(*overlays: str, small: dict[str, Any] = SMALL, **settings: Any) -> Callable[[str], Any]:
        training = ConfigWorkflow(
            config_file=[str(CONFIGS / f"{name}.json") for name in ("train", *overlays)],
            meta_file=str(CONFIGS / "metadata.json"),
            logging_file=False,
            workflow_type="train",
            bundle_root=str(bundle_folder()),
            **{"datalist": tiny_dataset / "datalist.json", "output_dir": tmp_path / "run", **small, **settings},
        )
        training.initialize()
        return training.parser.get_parsed_content

    return configure
