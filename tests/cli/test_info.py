from __future__ import annotations

import inspect
import json
from importlib.metadata import version
from pathlib import Path

import pytest
from conemos_bundle import cli
from conemos_bundle.cli.app import COMMANDS, run
from conemos_bundle.errors import UserError
from conemos_bundle.utils.paths import bundle_folder
from conemos_bundle.utils.version import __version__


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    run(["info", "--json", *words])
    return json.loads(capsys.readouterr().out)


def test_tells_a_program_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys)
    assert found["version"] == __version__
    assert found["packages"]["torch"] == version("torch") and found["packages"]["onnx"] == version("onnx")
    assert not {"ruff", "pytest", "conemos-bundle"} & found["packages"].keys()
    assert found["model"]["regions"] == ["hippocampus", "anterior", "posterior"]
    assert found["model"]["spacing"] == [1, 1, 1] and found["model"]["modality"] == "MR"
    assert Path(found["files"]["weights"]) == bundle_folder() / "models" / "model.pt"
    assert found["device"]["default"] in ("cpu", "cuda") and found["device"]["cores"] >= 1


def test_tells_a_program_every_command_option_and_setting(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys)
    assert found["commands"].keys() == COMMANDS.keys()
    for name, (function, _) in COMMANDS.items():
        told = found["commands"][name]
        words = {each["words"][0].removeprefix("--") for each in told["options"]}
        words |= {each["name"].lower() for each in told["arguments"]}
        kinds = inspect.signature(function).parameters.values()
        assert words == {each.name for each in kinds if each.kind is not each.VAR_KEYWORD}
        assert all(each["help"] for each in told["options"] + told["arguments"])
    predict = found["commands"]["predict"]
    assert predict["arguments"][0]["name"] == "SCANS" and predict["arguments"][0]["several"]
    regions = next(each for each in predict["options"] if each["words"] == ["--regions", "-r"])
    assert regions["default"] is None and not predict["takes_settings"]
    assert found["commands"]["train"]["takes_settings"]
    assert found["settings"]["max_epochs"]["default"] == 20 and "psl_loss" in found["overlays"]


def test_of_a_run_and_of_another_bundle(run: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, weights in ((run, run / "model.pt"), (bundle, bundle / "models" / "model.pt")):
        cli.info(str(folder), json=True)
        found = json.loads(capsys.readouterr().out)
        assert found["model"]["regions"] == ["outer", "inner core"] and found["model"]["spacing"] == [2, 2, 2]
        assert found["model"]["channels"] == 1 and found["files"]["weights"] == str(weights)


def test_the_table_has_the_same(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.info(str(run))
    lines = capsys.readouterr().out.splitlines()
    assert "regions    outer, inner core" in lines and "spacing    2 × 2 × 2 mm" in lines
    assert any(line.split() == ["torch", version("torch")] for line in lines)
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in COMMANDS)


def test_a_strangers_bundle_is_data(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    metadata |= {"name": "red \x1b[31m"}
    metadata["network_data_format"]["inputs"] = "none"
    (configs / "metadata.json").write_text(json.dumps(metadata))
    (configs / "inference.json").write_text(json.dumps({"spacing": f"$open({str(tmp_path / 'evil')!r}, 'w')"}))
    cli.info(str(tmp_path))
    text = capsys.readouterr().out
    assert "spacing    unknown" in text and "\x1b" not in text and not (tmp_path / "evil").exists()
    (configs / "metadata.json").write_text("{}")
    with pytest.raises(UserError, match=r"metadata\.json"):
        cli.info(str(tmp_path))
