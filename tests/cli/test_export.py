from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conemos_bundle.cli import export
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.bundle.exports import check
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
    with pytest.raises(UserError, match="'onxx': use some of ts,pt2,onnx"):
        export(str(bundle), "onxx")
    assert [file.name for file in (bundle / "models").iterdir() if file.name.startswith("model.")] == ["model.pt"]


def test_no_export_names_a_folder_of_this_machine(exported: Path) -> None:
    files = [exported / "models" / f"model.{kind}" for kind in ("pt", "ts", "pt2", "onnx")]
    assert [found for file in files for found in machine_paths(file)] == []
