from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.data.datalist import Datalist, Scan
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.bundle.model_card import model_card
from conemos_bundle.hosts.bundle.packing import _data_license, metadata
from conemos_bundle.networks import FiLMUNet, UNet
from conemos_bundle.runs.record import Run, as_dictionary
from conemos_bundle.runs.run import (
    RunRecord,
    check_model,
    default_output_dir,
    identity,
    network_of,
    package_versions,
    read_record,
    recorded_network,
)
from conemos_bundle.utils.version import __version__
from ignite.engine import Engine

PLAN = {"in_channels": 1, "spacing": [1.0, 2.0, 3.0], "patch_size": [8, 16, 8]}
DATA = Datalist(
    name="fetal scans",
    license="CC-BY-4.0",
    regions=["body", "left eye"],
    training=[
        Scan(image="a.nii", subject="a", masks={"body": "a_body.nii", "left eye": "a_eye.nii"}),
        Scan(image="b.nii", subject="b", masks={"body": "b_body.nii"}),
    ],
    test=[Scan(image="c.nii", subject="c", masks={"left eye": "c_eye.nii"})],
)


def test_a_datalist_with_more_regions_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record_run(tmp_path, make_network())
    assert not caplog.messages
    read_record(tmp_path / "model.pt", DATA.model_copy(update={"regions": ["left eye", "nose", "body"]}))
    assert caplog.messages == [f"{tmp_path / 'run.json'}: the model does not know nose of the datalist: left out"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"regions": ["body"]}, "names 1 regions, but its network has 2"),
        ({"regions": ["body", "body"]}, "names the region 'body' twice"),
        ({"regions": ["body", "../eye"]}, r"regions.1: region name '../eye': use letters"),
        ({"regions": ["body", 1]}, r"regions.1: Input should be a valid string"),
    ],
)
def test_a_record_whose_regions_cannot_be(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    record = record_run(tmp_path, make_network())
    (tmp_path / "run.json").write_text(json.dumps({**as_dictionary(record), **change}))
    with pytest.raises(UserError, match=words):
        read_record(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("regions", "spacing", "options", "words"),
    [
        (["left eye", "body"], [1.0, 2.0, 3.0], {}, "its regions is"),
        (["body", "left eye"], [1.0, 2.0, 4.0], {}, "its spacing is"),
        (["body", "left eye"], [1.0, 2.0, 3.0], {"norm": None}, "its norm is 'instance'"),
        (["body", "left eye"], [1.0, 2.0, 3.0], {"in_channels": 2}, "its in_channels is 1"),
    ],
)
def test_weights_of_another_model_are_refused(
    regions: list[str], spacing: list[float], options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    record_run(tmp_path, make_network())
    weights = tmp_path / "model.pt"
    check_model(weights, ["body", "left eye"], [1.0, 2.0, 3.0], make_network())
    arguments = {**make_network().arguments, **options}
    with pytest.raises(UserError, match=words) as error:
        check_model(weights, regions, spacing, FiLMUNet(**arguments))
    assert "conemos predict --model RUN" in str(error.value)
    (tmp_path / "run.json").unlink()  # nothing to hold it against
    check_model(weights, regions, spacing, FiLMUNet(**arguments))


def make_network() -> FiLMUNet:
    return FiLMUNet(num_regions=2, channels=(2, 4), n_conditioned=3, norm="instance", film_position="before_activation")


def record_run(folder: Path, network: torch.nn.Module) -> Run:
    engine = Engine(lambda engine, batch: None)
    RunRecord(str(folder), DATA, PLAN, network, {"seed": 7}).attach(engine)
    engine.run([0])
    torch.save(network.state_dict(), folder / "model.pt")
    return read_record(folder / "model.pt", DATA)


@pytest.mark.parametrize("settings", [{"seed": "$7"}, {"rate": float("nan")}, {"_target_": "x"}, {"a": {"b": 1}}])
def test_what_could_not_be_read_again_is_not_recorded(settings: dict[str, Any], tmp_path: Path) -> None:
    record = RunRecord(str(tmp_path), DATA, PLAN, make_network(), settings)
    with pytest.raises(UserError, match=r"run\.json: not written: settings\."):
        record.write(None)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_what_a_finished_run_is_known_by(tmp_path: Path) -> None:
    record = record_run(tmp_path / "new" / "run", make_network())
    assert [file.name for file in sorted((tmp_path / "new" / "run").iterdir())] == [
        "model.pt", "run.json", "subjects.json",
    ]  # fmt: skip
    assert record.regions == ["body", "left eye"]
    assert as_dictionary(record)["plan"] == PLAN
    assert record.settings == {"seed": 7}
    assert record.data.name == "fetal scans"
    assert record.data.license == "CC-BY-4.0"
    assert record.data.annotated == {
        "training": {"scans": 2, "body": 2, "left eye": 1},
        "validation": {"scans": 0, "body": 0, "left eye": 0},
        "test": {"scans": 1, "body": 0, "left eye": 1},
    }
    assert record.versions == {"conemos-bundle": __version__, **package_versions()}


def test_the_data_of_the_weights_that_it_began_with_are_told(tmp_path: Path) -> None:
    record_run(tmp_path / "first", make_network())
    rare = DATA.model_copy(update={"name": "rare", "license": "CC BY-NC 4.0", "reference": "Doe"})

    def trained_on(data: Datalist, before: Path, folder: Path) -> list[str]:
        RunRecord(str(folder), data, PLAN, make_network(), before=before).write(None)  # type: ignore[arg-type]
        torch.save(make_network().state_dict(), folder / "model.pt")
        return [source.name for source in read_record(folder / "model.pt").began_with]

    assert trained_on(rare, tmp_path / "first", tmp_path / "second") == ["fetal scans"]
    assert trained_on(DATA, tmp_path / "second", tmp_path / "third") == ["rare"]  # and its own
    assert trained_on(rare, tmp_path / "nowhere", tmp_path / "fourth") == [""]  # weights that do not say
    record = read_record(tmp_path / "third" / "model.pt")
    text = _data_license(record)
    assert "were trained on: fetal scans.\nLicense of these data: CC-BY-4.0.\n" in text
    assert (
        "They began as weights that were trained on: rare.\nLicense of these data: CC BY-NC 4.0.\nReference: Doe.\n"
        in text
    )
    card = model_card(record, metadata(record, "a", "0.1.0", {}))
    assert (
        "- The training began with weights that were trained on rare; modality: not stated; license: CC BY-NC 4.0; "
        in card
    )


@pytest.mark.parametrize("network", [make_network(), UNet(num_regions=2, channels=(2, 4), skip="first_conv")])
def test_the_recorded_network_takes_the_weights(tmp_path: Path, network: torch.nn.Module) -> None:
    record = record_run(tmp_path, network)
    assert record.network.target == f"conemos_bundle.networks.{type(network).__name__}"
    again = recorded_network(record).eval()
    again.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(again(image), network.eval()(image))


@pytest.mark.parametrize("name", ["os.system", "torch.nn.Linear", "conemos_bundle.networks.Backbone", ""])
def test_no_other_class_is_built_from_a_record(name: str) -> None:
    with pytest.raises(UserError, match=r"none of this package \(FiLMUNet, UNet, "):
        network_of({"_target_": name, "channels": [2, 4]})


def test_a_record_that_is_none(tmp_path: Path) -> None:
    weights, file = tmp_path / "model.pt", tmp_path / "run.json"
    with pytest.raises(UserError, match=r"model\.pt: no such file; train first"):
        read_record(weights)
    weights.touch()
    with pytest.raises(UserError, match=r"run\.json: cannot read the record"):
        read_record(weights)
    for text, message in (
        ("{", "not valid JSON .*; not a record of a training"),
        ("[]", "Input should be a valid dictionary"),
        (json.dumps({"regions": ["body"], "plan": PLAN}), "network: Field required"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=rf"run\.json: {message}"):
            read_record(weights)


def test_a_data_set_with_none_of_the_models_regions(tmp_path: Path) -> None:
    record_run(tmp_path, make_network())
    assert read_record(tmp_path / "model.pt", Datalist(regions=["uterus", "body"])).regions == ["body", "left eye"]
    with pytest.raises(UserError, match=r"names none of the model's regions \(body, left eye\)"):
        read_record(tmp_path / "model.pt", Datalist(regions=["uterus"]))


def test_identity_changes_with_the_data_set_and_the_settings() -> None:
    first = identity(DATA, seed=0)
    assert identity(DATA.model_copy(deep=True), seed=0) == first
    assert set(first) == {"datalist", "seed"}
    changed = DATA.model_copy(deep=True)
    changed.training[1].masks["left eye"] = "b_eye.nii"
    assert identity(changed, seed=0)["datalist"] != first["datalist"]
    assert identity(DATA, seed=1)["seed"] == 1


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("fetal scans", "fetal_scans"),
        ("../../etc", "etc"),
        ("a/b:c", "a_b_c"),
        ("...", "run"),
        ("Größe-1.0", "Größe-1.0"),
    ],
)
def test_default_output_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_output_dir(Datalist(name=name, regions=["a"])) == str(tmp_path / "runs" / folder)


def test_package_versions() -> None:
    versions = package_versions()
    assert versions["python"] == platform.python_version()
    assert versions["monai"] == version("monai")
    assert "+" not in versions["torch"]


def test_a_model_of_something_else_is_not_given_another_record(tmp_path: Path) -> None:
    record_run(tmp_path, make_network())
    before = (tmp_path / "run.json").read_bytes()
    record_run(tmp_path, make_network())  # killed before its first checkpoint: it goes on
    other = DATA.model_copy(update={"regions": DATA.regions[::-1]})
    with pytest.raises(UserError, match="holds a model and no checkpoint of a training to go on with; pass another"):
        RunRecord(str(tmp_path), other, PLAN, make_network(), {"seed": 7}).write(None)  # type: ignore[arg-type]
    assert (tmp_path / "run.json").read_bytes() == before
    (tmp_path / "run.json").unlink()
    with pytest.raises(UserError, match="holds a model and no checkpoint"):
        record_run(tmp_path, make_network())
    (tmp_path / "checkpoint.pt").touch()  # whose own handler says whether it fits
    record_run(tmp_path, make_network())
