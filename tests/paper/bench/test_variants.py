"""Every variant runs, on a tiny image."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.paper.bench import growth, inference, memory, startup, steps
from conemos_bundle.paper.bench.augmentation import augmentation_groups
from conemos_bundle.paper.bench.groups import Group, measure
from conemos_bundle.paper.bench.networks import PEERS
from conemos_bundle.paper.bench.setup import Setup

SETUP = Setup(size=32, channels=(2, 3, 4), dtypes=("float32", "bfloat16"), rounds=1, quick=True)


def _measured(group: Group) -> dict[str, int]:
    result = measure(group, 1, 100)
    assert list(result.values) == list(group.variants)
    assert all(len(values) == 1 and values[0] > 0 for values in result.values.values())
    assert set(group.peers) <= set(result.values)
    return result.multiplications


def test_training_steps() -> None:
    single, mixed = map(_measured, steps.step_groups(SETUP))
    assert single == mixed
    assert len(single) == 9
    assert single["Plain UNet"] < single["Plain UNet, concatenating"]
    assert single["CoNeMOS, N = 7"] < single["CoNeMOS, N = 7, 2 masks per scan"] < 2 * single["CoNeMOS, N = 7"]


def test_a_step_learns_what_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    loss = steps.RegionLoss.forward

    def note(self: Any, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(logits.shape), tuple(target.shape)))
        return loss(self, logits, target)

    monkeypatch.setattr(steps.RegionLoss, "forward", note)
    for name, masks in (("Plain UNet", 1), ("PSL loss, 5 masks per scan", 5), ("CoNeMOS, N = 7, 2 masks per scan", 2)):
        steps.build_step(SETUP, "float32", steps.STEPS[name])()
        assert seen.pop() == ((2, masks, 32, 32, 32),) * 2


def test_a_step_changes_the_weights() -> None:
    built = []

    def build(setup: Setup, regions: int) -> torch.nn.Module:
        built.append(steps.METHODS["CoNeMOS"](setup, regions))
        return built[0]

    step = steps.build_step(SETUP, "float32", steps.Step(build, 5, 1, True))
    before = [w.clone() for w in built[0].parameters()]
    step()
    assert all(not torch.equal(w, b) for w, b in zip(built[0].parameters(), before, strict=True))


def test_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "REGIONS_QUICK", (1, 3))
    groups = list(inference.inference_groups(replace(SETUP, dtypes=("float32",))))
    assert [group.regions for group in groups] == [1, 3, None]
    one, three, second = map(_measured, groups)
    assert list(three)[:2] == list(PEERS)
    assert three["Individual networks"] == 3 * one["Individual networks"]
    assert one["PSL loss"] < three["PSL loss"] < three["CoNeMOS, N = 7"] < three["CoNeMOS"]
    assert second["DoDNet"] < second["CoNeMOS, N = 7"] < second["CoNeMOS"] < one["CoNeMOS"]


def test_what_would_fill_the_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "memory_of_machine", lambda: 4 * 4 * 2 * 32**3 * 2 * 4.0)  # of four regions
    build = partial(inference.build_inference, SETUP, "float32", inference.METHODS["CoNeMOS"])
    result = measure(Group("inference", "", {"4": partial(build, 4, 4), "5": partial(build, 5, 5)}), 1, 100)
    assert list(result.values) == ["4"]
    assert result.left_out == {"5": "does not fit into memory"}


def test_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "SIDES_QUICK", (16, 32))
    groups = list(growth.growth_groups(SETUP))
    assert [list(group.variants) for group in groups[:3]] == [["16³", "32³ (8 × the voxels)"]] * 3
    assert [group.peers for group in groups] == [("16³",)] * 3 + [("1 region",)] * 2
    all_of, last_7 = (list(_measured(group).values()) for group in groups[3:])
    for found in (all_of, last_7):
        assert len(found) == 5
        assert found[2] - found[1] == pytest.approx(3 * (found[1] - found[0]), rel=1e-3)  # 5, 2 and 1 regions
    assert last_7[0] == pytest.approx(all_of[0], rel=1e-3)  # fewer projections to gamma and beta
    assert last_7[4] < all_of[4]


def test_growth_with_scans_runs_conemos_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "build_command", lambda words, folder: (words, folder))
    words, _ = growth.build_predict(SETUP, tmp_path, 2)
    assert words[:3] == ["-m", "conemos_bundle", "predict"] and "--no_resume" in words
    assert [Path(word).is_file() for word in words[3:5]] == [True, True]
    assert growth.nibabel.load(words[3]).shape == (32, 32, 32)
    groups = list(growth.growth_groups(replace(SETUP, quick=False)))
    assert list(groups[-1].variants) == ["1 scan", "2 scans", "4 scans"]


def test_commands_end_as_they_should(tmp_path: Path) -> None:
    assert startup.COMMANDS["conemos predict of a file that is not there"][1] == 2
    startup.build_command(["-c", "import conemos_bundle; raise SystemExit(2)"], tmp_path, 2)()
    with pytest.raises(RuntimeError, match="ended with 1, not 0: ValueError: no"):
        startup.build_command(["-c", "raise ValueError('no')"], tmp_path)()
    for name in ("conemos --help", "conemos predict of a file that is not there"):
        words, ends = startup.COMMANDS[name]
        startup.build_command(words, tmp_path, ends)()
    assert [list(group.variants) for group in startup.startup_groups(SETUP)] == [list(startup.COMMANDS)]


def test_deformations() -> None:
    (group,) = augmentation_groups(SETUP)
    for build in group.variants.values():
        assert build()()["image"].shape == (1, 32, 32, 32)
    assert group.peers == ("MONAI Rand3DElasticd",)


@pytest.mark.skipif(sys.platform == "win32", reason="no such figure there")
def test_peak_memory_of_a_process_of_its_own() -> None:
    setup = replace(SETUP, dtypes=("float32",))
    titles = [group.title for group in memory.measured_groups(setup)]
    assert titles == ["Training step, batch 2, float32", "Inference of 5 regions, float32"]
    held = torch.ones(2**26)  # 256 MiB of this process do not count
    found = memory.peak_in_child(setup, titles[1], "CoNeMOS")
    more = memory.peak_in_child(replace(setup, channels=(16, 16, 16)), titles[1], "CoNeMOS")
    assert found is not None and more is not None and held.all()
    features = 5 * 16 * 32**3 * 4
    assert 0 < found < more < 256 * 2**20
    assert more > features
