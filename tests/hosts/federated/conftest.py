"""Two sites of tiny scans with other regions annotated, and a federation of them in this process, without FLARE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.data.datalist import Datalist, read_datalist, write_datalist
from conemos_bundle.hosts.federated import site as local
from conemos_bundle.hosts.federated.job import Job, make_job

from tests.workflows import left_as_it_was

SITES = ("site-1", "site-2")
SMALL: dict[str, Any] = {"channels": [2, 4], "batch_size": 1, "bfloat16": False, "patch_size": [16, 16, 8]}


@pytest.fixture
def site_datalists(tiny_dataset: Path, tmp_path: Path) -> dict[str, Path]:
    """Site 1 knows ``outer`` alone, site 2 ``inner core`` alone, in two scans and one; each has one for validation."""
    whole = read_datalist(tiny_dataset / "datalist.json")
    only = {"site-1": ([0, 1], 1, "outer"), "site-2": ([2], 0, "inner core")}
    files = {}
    for site, (training, validation, region) in only.items():
        scan = whole.validation[validation]
        own = scan.model_copy(update={"masks": {region: scan.masks[region]}})
        data = Datalist(
            name=f"ward of {site}", regions=whole.regions, dataset_dir=str(tiny_dataset),
            training=[whole.training[i] for i in training], validation=[own],
        )  # fmt: skip
        files[site] = tmp_path / "data" / f"{site}.json"
        files[site].parent.mkdir(exist_ok=True)
        write_datalist(data, files[site])
    return files


@pytest.fixture
def job(tiny_dataset: Path) -> Callable[..., Job]:
    def make(rounds: int = 2, method: str = "", region_wise: bool = True, **settings: Any) -> Job:
        regions = ["outer", "inner core"]
        return make_job(regions, SITES, rounds, 2, method, {**SMALL, **settings}, region_wise)

    return make


@pytest.fixture
def ask(site_datalists: dict[str, Path], tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Gives a task to both sites, one after the other, as FLARE would; keeps what they answered in ``ask.messages``."""
    trainings: dict[str, local.SiteTraining] = {}

    def give(task: str, number: int, job: Job, weights: Mapping[str, Any]) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for site, file in site_datalists.items():
            if task == "describe":
                answers[site] = local.describe(file, job.regions)
                continue
            if site not in trainings:
                trainings[site] = local.prepare(file, job, site, tmp_path / "sites" / site)
            if task == "train":
                answers[site] = local.train(trainings[site], weights, number, with_dice=number > 0)
            else:
                answers[site] = local.evaluate(trainings[site], weights)
        give.messages.append((task, number, answers))  # type: ignore[attr-defined]
        return answers

    give.messages = []  # type: ignore[attr-defined]
    with left_as_it_was():
        yield give
