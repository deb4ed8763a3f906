"""A run is taught a region: its other regions stay to the bit, the files are those of a run, the region is small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conemos_bundle.cli import pack
from conemos_bundle.data.plan import Look
from conemos_bundle.errors import UserError
from conemos_bundle.growing import add_region
from conemos_bundle.growing.begin import begin
from conemos_bundle.growing.model import read_growing
from conemos_bundle.growing.region_file import read_region
from conemos_bundle.networks import GrownUNet
from conemos_bundle.networks.added_region import CAPACITIES, AddedRegion
from conemos_bundle.predictor import Predictor, Segmentation
from conemos_bundle.runs.run import read_record, recorded_network
from conemos_bundle.runs.weights import load_weights
from conemos_bundle.training.pretrained import load_pretrained

from tests.growing.conftest import SETTINGS, SOURCE


def probability(found: Segmentation, region: str) -> np.ndarray:
    assert found.probabilities is not None
    return found.probabilities[found.regions.index(region)]


def test_the_grown_run_says_what_it_is(grown: Path, run: Path) -> None:
    before, after = read_record(run / "model.pt"), read_record(grown / "model.pt")
    assert after.regions == ["outer", "inner core", "kernel"]
    assert after.plan == before.plan and after.data.name == "tiny" and before.added == {}
    told = {**SOURCE, "modality": "MR", "capacity": "low_rank", "rank": 2}
    assert after.added["kernel"].model_dump() == told
    network = recorded_network(after)
    network.load_state_dict(load_weights(grown / "model.pt"))
    assert isinstance(network, GrownUNet) and (network.old, network.num_regions) == (2, 3)
    base = load_weights(run / "model.pt")
    assert all(torch.equal(tensor, base[name]) for name, tensor in network.base.state_dict().items())
    assert (grown / "kernel.region.pt").stat().st_size < (grown / "model.pt").stat().st_size
    assert str(grown.parent) not in (grown / "run.json").read_text()


def test_old_regions_are_predicted_as_before(grown: Path, run: Path, tiny_dataset: Path) -> None:
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    used = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for mode in ("window", "whole"):
                before, after = (Predictor.load(model, device="cpu", mode=mode) for model in (run, grown))
                for asked, more in (
                    (["outer"], ["outer"]),
                    (["outer", "inner core"], ["kernel", "inner core", "outer"]),
                ):
                    old, new = (
                        model(scan, regions=names, probabilities=True)
                        for model, names in ((before, asked), (after, more))
                    )
                    for region in asked:
                        assert np.array_equal(probability(old, region), probability(new, region)), (threads, mode)
    finally:
        torch.set_num_threads(used)


def test_the_new_region_is_what_the_training_learned(grown: Path, tiny_dataset: Path) -> None:
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    alone, together = (
        Predictor.load(model, device="cpu")(scan, regions=["kernel"]) for model in (grown / "training", grown)
    )
    assert np.array_equal(alone["kernel"], together["kernel"])


@pytest.mark.usefixtures("what_workflows_leave_behind_in_the_process")
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_every_capacity_learns_what_it_says(capacity: str, run: Path, new_region: Path, tmp_path: Path) -> None:
    folder = add_region(new_region, run, "kernel", tmp_path / "grown", capacity=capacity, rank=1, **SETTINGS)
    own = read_region(folder / "kernel.region.pt").own
    kinds = {name.split(".")[-1] for name in own}
    assert kinds == {"film": {"bias"}, "low_rank": {"bias", "up", "down"}, "decoder": {"bias", "weight"}}[capacity]
    assert all(name.startswith(("decoder", "final")) for name in own if name.endswith("weight"))


@pytest.mark.usefixtures("what_workflows_leave_behind_in_the_process")
def test_a_second_region_leaves_the_first_as_it_is(grown: Path, new_region: Path, tmp_path: Path) -> None:
    text = new_region.read_text().replace('"kernel"', '"stone"')
    (tmp_path / "datalist.json").write_text(text)
    twice = add_region(tmp_path / "datalist.json", grown, "stone", tmp_path / "twice", capacity="film", **SETTINGS)
    assert read_record(twice / "model.pt").regions == ["outer", "inner core", "kernel", "stone"]
    first, second = load_weights(grown / "model.pt"), load_weights(twice / "model.pt")
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_grown_run_becomes_a_bundle(grown: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    pack(str(grown), str(tmp_path / "bundle"))
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    card, text = ((tmp_path / "bundle" / "docs" / name).read_text() for name in ("README.md", "data_license.txt"))
    assert "- Added later: kernel, taught on Scans of kernels; modality: MR; license: CC BY-NC 4.0; " in card
    assert "taught on: Scans of kernels.\nLicense of these data: CC BY-NC 4.0.\nReference: Doe 2026.\n" in text
    described = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    assert described["data_source"] == "tiny; Scans of kernels" and described["references"][-1] == "Doe 2026"
    one, other = (Predictor.load(model, device="cpu")(scan) for model in (grown, tmp_path / "bundle"))
    assert one.regions == other.regions == ["outer", "inner core", "kernel"]
    assert np.array_equal(one.masks, other.masks)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"region": "outer"}, "--region outer: the model knows it already"),
        ({"region": "Outer"}, "--region Outer: the model knows outer, which differs by case alone"),
        ({"spacing": [4.0, 4.0, 4.0]}, "--spacing: is the model's, or told otherwise; leave it out"),
        ({"inside": {"kernel": "outer"}}, "--inside: is the model's"),
        ({"pretrained_path": "x"}, "--pretrained_path: is the model's"),
        ({"network_def::rank": 3}, "--network_def::rank: is the model's"),
        ({"region": "liver"}, "--region liver: the datalist has outer, kernel; name one of them"),
        ({"region": "../x"}, "--region: region name '../x'"),
        ({"capacity": "full"}, "--capacity 'full': use one of film, low_rank, decoder, all"),
        ({"rank": 0}, "--rank 0: give a whole number"),
    ],
)
def test_what_cannot_be_taught_is_refused_before_any_work(
    changed: dict[str, Any], words: str, run: Path, new_region: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        add_region(**{"datalist": new_region, "model": run, "region": "kernel", "output": tmp_path / "out", **changed})
    assert str(error.value).startswith(words)
    assert not (tmp_path / "out").exists()


def test_models_that_cannot_grow(run: Path, new_region: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model.pt in it"):
        add_region(new_region, tmp_path, "kernel", tmp_path / "out")
    shutil.copytree(run, tmp_path / "unet")
    record = json.loads((run / "run.json").read_text())
    record["network"] = {"_target_": "conemos_bundle.networks.UNet", "num_regions": 2, "channels": [2, 4]}
    (tmp_path / "unet" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="is a UNet; only CoNeMOS's conditioned network can be taught"):
        add_region(new_region, tmp_path / "unet", "kernel", tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"expected": "0" * 64}, "is another model than when 'conemos add-region' began; give the command again"),
        ({"plan": {"in_channels": 1, "spacing": [1.0, 1.0, 1.0]}}, "and this training has [1.0, 1.0, 1.0]"),
        ({"plan": {"in_channels": 2, "spacing": [2.0, 2.0, 2.0]}}, "trained on scans of 1 channel(s)"),
        ({"network": AddedRegion(channels=(2, 4), norm="instance")}, "its film_position is 'before_activation', that"),
    ],
)
def test_the_training_begins_from_the_model_that_it_is_joined_with(
    changed: dict[str, Any], words: str, run: Path, tmp_path: Path
) -> None:
    base = read_growing(run)
    as_told = {"network": AddedRegion(**base.shape), "expected": base.hash, "plan": base.record.plan.model_dump()}  # type: ignore[arg-type]
    training = {"batches": [], "loss": torch.add, "device": torch.device("cpu"), "output_dir": tmp_path}
    with pytest.raises(UserError) as error:
        begin(path=run, **{**as_told, **training, **changed})  # type: ignore[arg-type]
    assert str(error.value).startswith(f"{run / 'model.pt'}: ") and words in str(error.value)


def test_a_model_that_is_not_finished_is_told_of(
    run: Path, new_region: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "settings": {"max_epochs": 20}}))
    torch.save({"epoch": 3}, tmp_path / "run" / "checkpoint.pt")

    def stopped(*_: Any, **__: Any) -> None:
        raise UserError("stopped")

    monkeypatch.setattr("conemos_bundle.growing.teach.run_training_config", stopped)
    with pytest.raises(UserError, match="stopped"):
        add_region(new_region, tmp_path / "run", "kernel", tmp_path / "out")
    assert f"{tmp_path / 'run'}: not finished, 3 of 20 epochs are done" in caplog.text


@pytest.mark.parametrize("capacity", ["low_rank", "all"])
def test_a_model_is_never_written_over(capacity: str, grown: Path, run: Path, new_region: Path) -> None:
    before = [file.read_bytes() for model in (run, grown) for file in (model / "model.pt", model / "run.json")]
    with pytest.raises(UserError, match="holds a model already"):
        add_region(new_region, run, "kernel", grown, capacity=capacity)
    with pytest.raises(UserError, match="is the model itself"):
        add_region(new_region, run, "kernel", run.parent / "." / run.name, capacity=capacity)
    assert before == [file.read_bytes() for model in (run, grown) for file in (model / "model.pt", model / "run.json")]


def test_scans_of_other_channels_are_refused(
    run: Path, new_region: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conemos_bundle.growing.teach.look_at_scans", lambda scans: Look(2, [2.0] * 3, [40.0] * 3))
    with pytest.raises(UserError, match=r"datalist.json: its scans have 2 channel\(s\), those of .* 1$"):
        add_region(new_region, run, "kernel", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_whom_it_has_seen_is_told_of_both_trainings(grown: Path, run: Path) -> None:
    seen, before, here = (
        json.loads((folder / "subjects.json").read_text()) for folder in (grown, run, grown / "training")
    )
    for split in ("training", "validation"):
        assert seen[split] == sorted({*before[split], *here[split]}) and seen[split]
    assert "complete" not in seen


@pytest.mark.usefixtures("what_workflows_leave_behind_in_the_process")
def test_its_probabilities_are_as_calibrated_under_the_temperature_of_the_model(
    run: Path, grown: Path, new_region: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "temperature": 2.5}))
    warm = add_region(new_region, tmp_path / "run", "kernel", tmp_path / "grown", rank=2, **SETTINGS)
    temperatures = [read_record(model / "model.pt").temperature for model in (warm, warm / "training")]
    assert temperatures[0] == 2.5 and temperatures[1] not in (None, 2.5)
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    here, alone = (
        probability(Predictor.load(model, device="cpu")(scan, regions=["kernel"], probabilities=True), "kernel")
        for model in (warm, warm / "training")
    )
    np.testing.assert_allclose(here, alone, atol=1e-5)
    assert alone.std() > 0.001


def test_a_region_that_was_added_is_not_fine_tuned_by_the_way(grown: Path, new_region: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"knows it already; 'conemos merge --remove' takes it out"):
        add_region(new_region, grown, "kernel", tmp_path / "out")
    plan = read_record(grown / "model.pt").plan.model_dump(exclude_unset=True)
    network = recorded_network(read_record(grown / "model.pt"))
    with pytest.raises(UserError, match="name the regions in its order, as some were added to it: outer, inner core"):
        load_pretrained(grown, network, ["kernel", "outer", "inner core"], plan)
    assert isinstance(network, GrownUNet)
    with pytest.raises(UserError, match="has regions that were added to it, and cannot be trained on as one"):
        load_pretrained(grown, network.base, ["kernel", "outer", "inner core"], plan)
