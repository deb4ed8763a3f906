"""OpenVINO in place of PyTorch: the same probabilities, in the precision asked for, and nobody is told."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle import Predictor
from conemos_bundle.errors import UserError
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.networks import FiLMUNet, GrownUNet, IndividualNetworks, MultiLayer, UNet
from conemos_bundle.networks.interface import RegionNetwork
from conemos_bundle.predictor import loading
from conemos_bundle.predictor.engines import OpenVINONetwork, load_openvino

NEAR = {"rtol": 0, "atol": 1e-4}  # of probabilities
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def network() -> RegionNetwork:
    torch.manual_seed(0)
    network = FiLMUNet(num_regions=3, channels=(2, 4), n_conditioned=5, norm="instance").eval()
    with torch.no_grad():
        network.backbone.final.weight *= 30  # probabilities apart from each other
    return network


@pytest.fixture(scope="module")
def converted(network: RegionNetwork) -> OpenVINONetwork:
    return OpenVINONetwork(network)


def properties(part: Any) -> dict[str, Any]:
    compiled = part._request.get_compiled_model()
    return {name: compiled.get_property(name) for name in ("INFERENCE_PRECISION_HINT", "INFERENCE_NUM_THREADS")}


@needs_openvino
@pytest.mark.parametrize("size", [(16, 16, 16), (13, 9, 11)])
@torch.no_grad()
def test_features_and_probabilities_are_those_of_pytorch(
    size: tuple[int, ...], network: RegionNetwork, converted: OpenVINONetwork
) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 1, *size)
    kept, expected = converted.encode(image), network.encode(image)
    assert len(kept) == len(expected) == 3 and expected[1].shape != expected[2].shape
    for found, feature in zip(kept, expected, strict=True):
        torch.testing.assert_close(found, feature, rtol=1e-3, atol=1e-3)
    every = network(image).sigmoid()
    assert min(float((every[:, k] - every[:, k - 1]).abs().mean()) for k in range(3)) > 0.01
    converted.encode(torch.rand_like(image))  # what was given is kept as it is
    for regions in ([1], [2, 0], [0, 1, 2]):  # one after the other of one scan
        for asked in (torch.tensor(regions), torch.tensor([regions])):
            found = converted.decode(kept, asked).sigmoid()
            torch.testing.assert_close(found, every[:, regions], **NEAR)
    encode_once = EncodeOnce(converted, voxels_decoded=2 * image.numel())
    torch.testing.assert_close(encode_once(image, torch.tensor([2, 0, 1])).sigmoid(), every[:, [2, 0, 1]], **NEAR)


@needs_openvino
@torch.no_grad()
def test_float32_unless_autocast_asks_for_bfloat16(network: RegionNetwork, converted: OpenVINONetwork) -> None:
    torch.manual_seed(0)
    image, regions = torch.rand(1, 1, 16, 16, 16), torch.tensor([0, 1, 2])
    openvino = load_openvino()
    expected = network(image).sigmoid()
    exact = converted.decode(converted.encode(image), regions).sigmoid()
    for part in (converted._encoder, converted._decoder):
        assert properties(part) == {
            "INFERENCE_PRECISION_HINT": openvino.Type.f32,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
    with torch.autocast("cpu", torch.bfloat16):
        rough = converted.decode(converted.encode(image), regions).sigmoid()
        rough_in_pytorch = network(image).float().sigmoid()
    assert (rough - expected).abs().mean() < 2 * (rough_in_pytorch - expected).abs().mean()
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        for part in (converted._encoder, converted._decoder):
            assert properties(part)["INFERENCE_PRECISION_HINT"] == openvino.Type.bf16
        assert (rough - expected).abs().max() > 10 * (exact - expected).abs().max()
    torch.testing.assert_close(converted.decode(converted.encode(image), regions).sigmoid(), exact, rtol=0, atol=0)


@needs_openvino
@pytest.mark.parametrize("kind", [UNet, MultiLayer, IndividualNetworks])
@torch.no_grad()
def test_networks_of_other_methods(kind: type[RegionNetwork]) -> None:
    torch.manual_seed(0)
    network = kind(num_regions=3, channels=(2, 4), norm="instance").eval()  # type: ignore[arg-type]
    before = list(network.modules())
    image, regions = torch.rand(1, 1, 12, 9, 8), torch.tensor([2, 0])
    converted = OpenVINONetwork(network)
    found = converted.decode(converted.encode(image), regions)
    torch.testing.assert_close(found.sigmoid(), network(image, regions).sigmoid(), rtol=0, atol=1e-3)
    assert list(network.modules()) == before


@needs_openvino
@torch.no_grad()
def test_a_grown_network_computes_what_is_asked_for_and_its_old_regions_to_the_bit() -> None:
    torch.manual_seed(0)
    options = {"channels": (2, 4), "norm": "instance", "film_position": "before_activation", "n_conditioned": 3}
    network = GrownUNet(num_regions=4, added=2, **options).eval()  # type: ignore[arg-type]
    before, converted = OpenVINONetwork(network.base), OpenVINONetwork(network)
    image = torch.rand(2, 1, 12, 9, 8)
    one, expected = image[:1], network(image).sigmoid()
    torch.testing.assert_close(EncodeOnce(converted)(one, torch.tensor([3])).sigmoid(), expected[:1, [3]], **NEAR)
    assert [branch._request is None for branch in converted._added] == [True, False]
    assert converted._encoder._request is None and converted._decoder._request is None
    old = EncodeOnce(before)(one, torch.tensor([1, 0]))
    for asked in ([1, 0], [3, 1, 2, 0]):
        found = EncodeOnce(converted)(one, torch.tensor(asked))
        torch.testing.assert_close(found.sigmoid(), expected[:1, asked], **NEAR)
        assert torch.equal(found[:, [k for k, region in enumerate(asked) if region < 2]], old)
    of_each = converted.decode([image], torch.tensor([[3], [2]]))
    torch.testing.assert_close(of_each.sigmoid(), torch.stack([expected[0, [3]], expected[1, [2]]]), **NEAR)


@needs_openvino
@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_such_region(index: int, converted: OpenVINONetwork) -> None:
    with torch.no_grad(), pytest.raises(IndexError, match="out of range"):
        converted.decode(converted.encode(torch.rand(1, 1, 16, 16, 16)), torch.tensor([0, index]))


@needs_openvino
@pytest.mark.parametrize("mode", ["window", "whole"])
def test_a_predictor_gives_the_same_masks(
    mode: str, run: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Predictor.load(run, "cpu", mode)
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "is_available", lambda: True)  # which is not where OpenVINO computes
        predictor = Predictor.load(run, mode=mode, engine="openvino")
    assert predictor.device.type == "cpu"
    encoded, encode = [], predictor._network.encode
    predictor._network.encode = lambda image: encoded.append(image) or encode(image)  # type: ignore[assignment]
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    for regions in ("outer", "inner core", None):
        found, right = (each(scan, regions, probabilities=True) for each in (predictor, expected))
        assert found.regions == right.regions and len(encoded) == 1
        assert found.probabilities is not None and right.probabilities is not None
        assert abs(found.probabilities - right.probabilities).max() < 1e-4
        assert 0 < found.masks.mean() < 1 and (found.masks != right.masks).mean() < 1e-3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "opnvino"}, "--engine 'opnvino': use one of torch, openvino (did you mean openvino?)"),
        ({"engine": "onnx"}, "--engine 'onnx': use one of torch, openvino"),
        ({"engine": "openvino", "device": "meta"}, "--engine openvino: computes on a CPU; leave out --device meta"),
    ],
)
def test_engines_that_do_not_fit_are_refused_before_weights_are_read(
    options: dict[str, Any], words: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(loading, "load_weights", read.append)
    monkeypatch.setattr("conemos_bundle.utils.extras.find_spec", lambda name: name)
    with pytest.raises(UserError) as error:
        Predictor.load(run, **options)
    assert str(error.value).startswith(words) and "\n" not in str(error.value) and not read


def test_an_engine_that_is_not_installed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conemos_bundle.utils.extras.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"OpenVINO is not installed; pip install 'conemos-bundle\[openvino\]'"):
        Predictor.load(run, engine="openvino")
    Predictor.load(run, engine="torch")


def test_models_that_openvino_does_not_take(run: Path, torchscript: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conemos_bundle.utils.extras.find_spec", lambda name: name)
    with pytest.raises(UserError, match="--engine openvino: takes no TorchScript"):
        Predictor.load(torchscript, engine="openvino")
    model = loading.find_model(run)
    model.parser["network_def"] = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}
    monkeypatch.setattr(loading, "find_model", lambda _: model)
    with pytest.raises(UserError, match="--engine openvino: no network of this package, Conv3d"):
        Predictor.load(run, engine="openvino")


@needs_openvino
def test_nobody_is_told(tmp_path: Path) -> None:
    fake = tmp_path / "openvino_telemetry"
    fake.mkdir()
    (fake / "__init__.py").write_text("open('imported', 'w').close()\nraise ImportError\n")
    code = (
        "from conemos_bundle.predictor.engines import load_openvino\n"
        "import sys, torch\n"
        "openvino = load_openvino()\n"
        "openvino.convert_model(torch.export.export(torch.nn.ReLU(), (torch.zeros(1),)))\n"
        "print(sys.modules['openvino.tools.ovc.convert_impl'].tm.__name__)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "openvino.tools.ovc.telemetry_stub\n"
    assert not (tmp_path / "imported").exists()
