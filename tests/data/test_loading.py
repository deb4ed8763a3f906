"""Samplers and data sets as a training's settings make them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conemos_bundle.data.datalist import read_datalist, scan_items
from conemos_bundle.data.loading import region_sampler, scan_dataset
from conemos_bundle.data.region_dataset import RegionDataset
from conemos_bundle.transforms.prepare import preparation
from monai.transforms import Compose, Transform

PLAN = {"in_channels": 1, "spacing": [2.5, 2.0, 2.0], "patch_size": [8, 8, 8]}


def test_an_epoch_takes_batch_times_steps_draws_of_what_is_annotated(tiny_dataset: Path) -> None:
    data = read_datalist(tiny_dataset / "datalist.json")
    items = scan_items(data, "training", tiny_dataset)
    items[0]["masks"]["inner core"] = {"absent": True}
    dataset = RegionDataset(items, preparation(PLAN, data.regions), data.regions, cache="none")
    sampler = region_sampler(dataset, steps=5, batch_size=3, rule="uniform", seed=4, rank=1)
    assert (len(sampler), len(list(sampler)), sampler.rule, sampler.seed, sampler.rank) == (15, 15, "uniform", 4, 1)
    assert (sampler.scans, sampler.absent) == ([[0, 1, 3], [2, 3]], [[], [0]])


@pytest.mark.parametrize(("cache", "reads"), [("memory", 1), ("disk", 3), ("none", 3)])
def test_scans_are_kept_in_memory_where_that_is_the_cache(cache: str, reads: int) -> None:
    class Read(Transform):
        seen = 0

        def __call__(self, data: str) -> str:
            self.seen += 1
            return data

    read = Read()
    dataset = scan_dataset(["scan"], Compose([read]), cache)
    assert [dataset[0] for _ in range(3)] == ["scan"] * 3
    assert read.seen == reads


def test_no_bars_where_no_one_looks(tiny_dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = read_datalist(tiny_dataset / "datalist.json")
    items = scan_items(data, "training", tiny_dataset)
    RegionDataset(items, preparation(PLAN, data.regions), data.regions)
    scan_dataset(items, preparation(PLAN, data.regions))
    assert capfd.readouterr() == ("", "")
    RegionDataset(items, preparation(PLAN, data.regions), data.regions, progress=True)
    assert "100%" in capfd.readouterr().err
