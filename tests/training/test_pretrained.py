from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from conemos_bundle.cli import evaluate, predict, train
from conemos_bundle.data.datalist import read_datalist, write_datalist
from conemos_bundle.errors import UserError, find_user_error
from conemos_bundle.networks import FiLMUNet, UNet
from conemos_bundle.training.pretrained import load_pretrained, pretrained_convolutions, pretrained_spacing

PLAN = {"in_channels": 1, "spacing": [2.0, 2.0, 2.0], "patch_size": [24, 24, 16]}
TINY = {
    "max_epochs": 1, "steps_per_epoch": 1, "batch_size": 1, "num_workers": 0, "device": torch.device("cpu"),
    "patch_size": PLAN["patch_size"], "channels": [2, 4], "bfloat16": False, "learning_rate": 0.0,
}  # fmt: skip


def network(**options: Any) -> FiLMUNet:
    torch.manual_seed(5)
    return FiLMUNet(
        **{"num_regions": 2, "channels": (2, 4), "norm": "instance", "film_position": "before_activation", **options}
    )


@pytest.fixture
def turned(tiny_dataset: Path, tmp_path: Path) -> Path:
    """The datalist of ``tiny_dataset`` with its regions in the other order."""
    data = read_datalist(tiny_dataset / "datalist.json")
    write_datalist(data.model_copy(update={"regions": data.regions[::-1]}), tmp_path / "turned.json")
    return tmp_path / "turned.json"


def test_regions_are_matched_by_name(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = torch.rand(1, 1, 8, 8, 8)
    same, other = network().eval(), network().eval()
    with torch.no_grad():
        load_pretrained(run / "model.pt", same, ["outer", "inner core"], PLAN)
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
        load_pretrained(run, other, ["inner core", "outer"], PLAN)  # the folder will do
        torch.testing.assert_close(other(image), same(image)[:, [1, 0]])
        assert not torch.allclose(same(image)[:, 0], same(image)[:, 1])
    assert "matched by name: they stood in the order outer, inner core" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("ours", "regions", "plan", "words"),
    [
        (network(), ["outer"], PLAN, "its regions are outer, inner core, those of the datalist outer"),
        (network(num_regions=3), ["outer", "inner core", "x"], PLAN, "takes the same regions, by name"),
        (network(), ["outer", "core"], PLAN, "takes the same regions, by name"),
        (network(), ["outer", "inner core"], {**PLAN, "in_channels": 2}, "trained on scans of 1 channel"),
        (network(), ["outer", "inner core"], {**PLAN, "spacing": [2.0, 2.0, 2.5]}, r"spacing of \[2.0, 2.0, 2.0\] mm"),
        (network(norm=None), ["outer", "inner core"], PLAN, "norm is 'instance', that of this training None"),
        (network(film_position="after_activation"), ["outer", "inner core"], PLAN, "--network_def::film_position"),
        (network(channels=(2, 8)), ["outer", "inner core"], PLAN, r"channels is \[2, 4\].*--channels"),
        (UNet(num_regions=2, channels=(2, 4)), ["outer", "inner core"], PLAN, "network is 'FiLMUNet'.*--overlay"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_loaded(
    ours: torch.nn.Module, regions: list[str], plan: dict[str, Any], words: str, run: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    with pytest.raises(UserError, match=words) as error:
        load_pretrained(run / "model.pt", ours, regions, plan)
    assert "\n" not in str(error.value) and "model.pt" in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())


def test_rounding_of_the_spacing_and_initial_weights_do_not_matter(run: Path) -> None:
    ours = network(film_init="identity")
    load_pretrained(run, ours, ["outer", "inner core"], {**PLAN, "spacing": [2.0, 2.004, 1.999]})
    assert torch.equal(
        ours.state_dict()["backbone.final.weight"], torch.load(run / "model.pt")["backbone.final.weight"]
    )


def test_weights_without_a_record(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(run / "model.pt", tmp_path)
    regions = ["outer", "inner core"]
    with pytest.raises(UserError, match=r"nothing says which regions.*--pretrained_regions"):
        load_pretrained(tmp_path / "model.pt", network(), regions, PLAN)
    ours, theirs = network(), network()
    load_pretrained(tmp_path / "model.pt", ours, regions[::-1], PLAN, named=regions)
    load_pretrained(run, theirs, regions[::-1], PLAN)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    assert "no run.json beside it" in caplog.messages[0]
    assert pretrained_spacing(tmp_path / "model.pt") is None
    assert pretrained_convolutions(tmp_path / "model.pt", [2, 4]) == 3
    with pytest.raises(UserError, match="not of this network"):
        load_pretrained(tmp_path / "model.pt", network(channels=(2, 8)), regions, PLAN, named=regions)
    with pytest.raises(UserError, match=r"says other regions than --pretrained_regions"):
        load_pretrained(run, network(), regions, PLAN, named=regions[::-1])
    with pytest.raises(UserError, match="no such file; pass --pretrained_path"):
        load_pretrained(tmp_path / "none", network(), regions, PLAN)


@pytest.mark.parametrize(("conditioned", "network_name"), [(None, "FiLMUNet"), (2, "FiLMUNet"), (None, "UNet")])
def test_as_many_convolutions_are_conditioned_as_those_of_the_weights(
    run: Path, tmp_path: Path, conditioned: int | None, network_name: str
) -> None:
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["network"] = {"_target_": f"conemos_bundle.networks.{network_name}", "channels": [2, 4], "num_regions": 2}
    if conditioned is not None:
        record["network"]["n_conditioned"] = conditioned
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    expected = conditioned if network_name == "FiLMUNet" else 3  # a network without FiLM says nothing
    assert pretrained_convolutions(tmp_path / "run", [2, 4]) == expected
    assert pretrained_convolutions(None, [2, 4, 8]) == 5


def test_weights_with_a_relu_before_the_last_layer_are_not_taken_for_those_without(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    weights = UNet(num_regions=2, channels=(2, 4))
    torch.save(weights.state_dict(), tmp_path / "run" / "model.pt")
    record = json.loads((run / "run.json").read_text())
    record["network"] = {
        "_target_": "conemos_bundle.networks.UNet",
        **weights.arguments,
    }  # as before there was a choice
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    regions = ["outer", "inner core"]
    load_pretrained(tmp_path / "run", UNet(num_regions=2, channels=(2, 4)), regions, PLAN)
    with pytest.raises(UserError, match="last_relu is True, that of this training False.*--network_def::last_relu"):
        load_pretrained(tmp_path / "run", UNet(num_regions=2, channels=(2, 4), last_relu=False), regions, PLAN)


def test_fine_tuning_on_a_datalist_in_another_order(
    run: Path, turned: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    """Nothing is learned at a learning rate of 0: the masks are those of the weights it started from, by name."""
    options = {
        **TINY,
        "dataset_dir": str(tiny_dataset),
        "output_dir": str(tmp_path / "tuned"),
        "pretrained_path": str(run),
    }
    train(str(turned), overlay="fine_tune", **options)
    record = json.loads((tmp_path / "tuned" / "run.json").read_text())
    assert record["regions"] == ["inner core", "outer"]
    assert record["plan"]["spacing"] == [2.0, 2.0, 2.0]
    scan = str(tiny_dataset / "images" / "test_0.nii.gz")
    for name, model in (("before", run), ("after", tmp_path / "tuned")):
        predict(scan, model=str(model), output=str(tmp_path / name))
    for region in ("outer", "inner core"):
        before, after = (nibabel.load(tmp_path / n / "test_0" / f"{region}.nii.gz") for n in ("before", "after"))
        np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
    # resumed, it goes on from its own checkpoint, not from the weights that it started from
    checkpoint = torch.load(tmp_path / "tuned" / "checkpoint.pt")
    checkpoint["network"]["backbone.final.weight"] += 1
    checkpoint["epoch"], checkpoint["iteration"] = 0, 0
    checkpoint["best"], checkpoint["best_epoch"] = None, 0
    torch.save(checkpoint, tmp_path / "tuned" / "checkpoint.pt")
    train(str(turned), overlay="fine_tune", **options)
    after = torch.load(tmp_path / "tuned" / "checkpoint.pt")
    assert after["epoch"] == 1
    name = "backbone.final.weight"
    torch.testing.assert_close(after["network"][name], checkpoint["network"][name])
    shutil.copytree(run, tmp_path / "other")
    weights = torch.load(run / "model.pt")
    torch.save({key: value * 2 for key, value in weights.items()}, tmp_path / "other" / "model.pt")
    for changed in ({"pretrained_path": str(tmp_path / "other")}, {"rotation_degrees": 90}, {"val_interval": 3}):
        with pytest.raises(Exception, match=".") as error:
            train(str(turned), overlay="fine_tune", **{**options, **changed})
        assert "belongs to a run with other" in str(find_user_error(error.value))


def test_fine_tuning_that_does_not_fit_leaves_nothing(
    run: Path, turned: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    options = {
        **TINY,
        "dataset_dir": str(tiny_dataset),
        "output_dir": str(tmp_path / "tuned"),
        "pretrained_path": str(run),
    }
    with pytest.raises(Exception, match=".") as error:
        train(str(turned), overlay="fine_tune", **{**options, "spacing": [3, 3, 3]})
    assert "leave out --spacing" in str(find_user_error(error.value))
    assert not (tmp_path / "tuned").exists()


def test_evaluation_goes_by_name(run: Path, turned: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    for name, datalist in (("same", tiny_dataset / "datalist.json"), ("turned", turned)):
        evaluate(str(datalist), run=str(run), dataset_dir=str(tiny_dataset), evaluation_dir=str(tmp_path / name))
    same, other = (pd.read_csv(tmp_path / name / "per_scan.csv") for name in ("same", "turned"))
    pd.testing.assert_frame_equal(same, other)
    assert same["dice"].nunique() == 2  # the regions differ, so that an exchange would show
