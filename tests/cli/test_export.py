from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from conemos_bundle.cli import export, pack
from conemos_bundle.errors import UsageError, UserError
from conemos_bundle.hosts.bundle import exports
from conemos_bundle.hosts.bundle.exports import check
from conemos_bundle.hosts.bundle.hubs import sha256
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.runs.run import network_of
from conemos_bundle.runs.weights import load_weights
from conemos_bundle.utils.paths import bundle_folder

from tests.machine_paths import machine_paths


@pytest.fixture(scope="module")
def exporting(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The bundle with all exports, and what was printed."""
    folder = tmp_path_factory.mktemp("exported") / bundle.name
    shutil.copytree(bundle, folder)
    command = [sys.executable, "-m", "conemos_bundle", "export", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(bundle_folder())}
    return folder, subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def exported(exporting: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    return exporting[0]


@pytest.fixture(scope="module")
def network(bundle: Path) -> FiLMUNet:
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    network = network_of(config["network_def"]).eval()
    network.load_state_dict(load_weights(bundle / "models" / "model.pt"))
    return network


def test_no_line_is_printed_that_is_not_ours(exporting: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    done = exporting[1]
    assert done.stderr == ""
    assert [line.split(" ")[0] for line in done.stdout.splitlines()] == ["wrote", "wrote", "wrote", "next:"]


# batch, size and regions asked for: others than what the export saw, and smaller than the network pools
@pytest.mark.parametrize(("shape", "asked"), [((1, 1, 24, 24, 16), [0, 1]), ((3, 1, 9, 40, 5), [1])])
def test_all_formats_give_what_the_network_gives(
    exported: Path, network: FiLMUNet, shape: tuple[int, ...], asked: list[int]
) -> None:
    image, regions = torch.rand(shape), torch.tensor(asked)
    with torch.no_grad():
        expected = network(image, regions)
        pt2 = torch.export.load(exported / "models" / "model.pt2").module()(image, regions)
        script = torch.jit.load(exported / "models" / "model.ts")
        torch.testing.assert_close(script(image), network(image))
        torch.testing.assert_close(script(image, regions), expected)
    session = onnxruntime.InferenceSession(str(exported / "models" / "model.onnx"))
    onnx = session.run(["pred"], {"image": image.numpy(), "regions": regions.numpy()})[0]
    torch.testing.assert_close(pt2, expected)
    np.testing.assert_allclose(1 / (1 + np.exp(-onnx)), expected.sigmoid().numpy(), atol=1e-4)


def test_torchscript_holds_the_configurations(exported: Path) -> None:
    files = {"inference.json": "", "metadata.json": ""}
    torch.jit.load(exported / "models" / "model.ts", _extra_files=files)
    assert json.loads(files["metadata.json"])["name"] == "tiny_regions"
    assert json.loads(files["inference.json"])["network_def"]["num_regions"] == 2


def test_a_file_that_differs_is_refused(network: FiLMUNet) -> None:
    def off(image: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        return network(image, regions) + 0.01

    with pytest.raises(UserError, match="probabilities differ by"):
        check(off, network, 1, [24, 24, 16])
    with pytest.raises(UserError, match="probabilities differ by nan"):
        check(lambda image, regions: network(image, regions) * torch.nan, network, 1, [24, 24, 16])


def test_refuses_what_is_no_bundle_and_unknown_formats(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a bundle"):
        export(str(tmp_path))
    for wrong in ("onxx", "", "ts,onxx"):
        with pytest.raises(UsageError, match=f"'{wrong[-4:]}': use some of ts,pt2,onnx"):
            export(str(bundle), wrong)
    assert [file.name for file in (bundle / "models").iterdir() if file.name.startswith("model.")] == ["model.pt"]


def test_sums_follow_an_export_and_what_is_to_be_uploaded_is_told(exported: Path) -> None:
    models = exported / "models"
    listed = {file.name for file in models.iterdir()} - {"SHA256SUMS"}
    assert listed == {"model.pt", "model.ts", "model.pt2", "model.onnx", "run.json"}
    sums = dict(line.split()[::-1] for line in (models / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: sha256(models / name) for name in listed}


@pytest.fixture
def thin(bundle: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of the bundle, and its configuration of inference, whose window has a side that is pooled to one voxel."""
    folder = Path(shutil.copytree(bundle, tmp_path / bundle.name))
    config = json.loads((folder / "configs" / "inference.json").read_text())
    config["window"] = [24, 24, 2]
    return folder, config


def test_what_an_exporter_does_not_take_is_one_line_and_the_other_formats_are_written(
    thin: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, config = thin
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "large_files.yml").write_text("large_files:\n- path: models/model.ts\n  hash_val: of another file\n")

    def fails(*_: object) -> None:
        raise RuntimeError("\nGuard failed\nand 600 lines")

    monkeypatch.setattr(exports, "export_onnx", fails)
    told = r"cannot be exported as pt2 \(takes sides above 2 voxels, and the patch has 2\), onnx \(Guard failed\); use"
    with pytest.raises(UserError, match=told) as error:
        export(str(folder), "pt2,onnx,ts")
    assert "\n" not in str(error.value)
    assert sorted(file.name for file in (folder / "models").glob("model.*")) == ["model.pt", "model.ts"]
    assert f"model.ts; upload it, and write its sum there: {sha256(folder / 'models' / 'model.ts')}" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("lost", ["network_def", "window"])
def test_a_bundle_without_a_network_or_window_is_refused(lost: str, thin: tuple[Path, dict[str, Any]]) -> None:
    folder, config = thin
    (folder / "configs" / "inference.json").write_text(json.dumps({k: v for k, v in config.items() if k != lost}))
    with pytest.raises(UserError, match=r"inference\.json: lacks network_def or window"):
        export(str(folder), "ts")


def test_packing_keeps_the_bundle_where_an_export_alone_failed(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    record = json.loads((copy / "run.json").read_text())
    record["plan"]["patch_size"] = [24, 24, 2]
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"tiny: this network cannot be exported as pt2 "):
        pack(str(copy), str(tmp_path / "tiny"), formats="pt2")
    assert (tmp_path / "tiny" / "models" / "SHA256SUMS").is_file()


def test_no_export_names_a_folder_of_this_machine(exported: Path) -> None:
    files = [exported / "models" / f"model.{kind}" for kind in ("pt", "ts", "pt2", "onnx")]
    assert [found for file in files for found in machine_paths(file)] == []
