"""A data set of a region that the tiny run does not know, and the run grown by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.data import read_datalist, write_datalist
from conemos_bundle.growing import add_region

from tests.workflows import left_as_it_was

SETTINGS: dict[str, Any] = {"max_epochs": 1, "steps_per_epoch": 2, "num_workers": 0, "bfloat16": False, "device": "cpu"}
SOURCE = {"name": "few", "description": "Scans of kernels", "license": "CC BY-NC 4.0", "reference": "Doe 2026"}


@pytest.fixture
def what_workflows_leave_behind_in_the_process() -> Iterator[None]:
    with left_as_it_was():
        yield


@pytest.fixture(scope="session")
def new_region(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A datalist of ``outer`` and ``kernel``, which is what the run calls ``inner core``."""
    data = read_datalist(tiny_dataset / "datalist.json").model_dump(exclude_none=True)
    for split in ("training", "validation", "test"):
        for scan in data[split]:
            scan["masks"] = {name.replace("inner core", "kernel"): mask for name, mask in scan["masks"].items()}
    file = tmp_path_factory.mktemp("kernel") / "datalist.json"
    made = type(read_datalist(tiny_dataset / "datalist.json"))
    write_datalist(
        made.model_validate({**data, **SOURCE, "regions": ["outer", "kernel"], "dataset_dir": str(tiny_dataset)}), file
    )
    return file


@pytest.fixture(scope="session")
def grown(run: Path, new_region: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, taught ``kernel``."""
    with left_as_it_was():
        return add_region(new_region, run, "kernel", tmp_path_factory.mktemp("grown") / "run", rank=2, **SETTINGS)
