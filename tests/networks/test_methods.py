"""What holds for the network of every method: one interface, on demand, any size, scriptable."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from pydoc import locate

import pytest
import torch
from conemos_bundle.networks import NETWORKS
from torch import nn

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {"num_regions": 3, "channels": (2, 4, 6)}


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.double)


def build(name: str, seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    network: nn.Module = NETWORKS[name](**{**SMALL, **options})
    for parameter in network.parameters():  # biases too: nothing is left at zero
        nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


@pytest.fixture(params=NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@torch.no_grad()
@pytest.mark.parametrize("size", [(12, 12, 16), (13, 9, 7)])
def test_regions_asked_for_are_channels_of_all(name: str, size: tuple[int, ...]) -> None:
    network, image = build(name), images(2, 1, *size)
    logits = network(image)
    assert logits.shape == (2, 3, *size)
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 1e-3
    for asked in ([1], [2, 0], [0, 1, 2], [1, 1]):
        torch.testing.assert_close(network(image, torch.tensor(asked)), logits[:, asked])


@torch.no_grad()
def test_each_image_may_have_a_region_of_its_own(name: str) -> None:
    network, image = build(name), images(4, 1, 12, 8, 8)
    logits, asked = network(image), torch.tensor([2, 0, 2, 1])
    torch.testing.assert_close(network(image, asked[:, None]), logits[torch.arange(4), asked][:, None])
    two = torch.stack([asked, asked.flip(0)], 1)
    torch.testing.assert_close(network(image, two), torch.stack([logits[i, two[i]] for i in range(4)]))


@torch.no_grad()
def test_features_answer_as_often_as_asked(name: str) -> None:
    network, image = build(name), images(2, 1, 12, 9, 8)
    features = network.encode(image)
    assert torch.equal(features[0], image) and all(len(tensor) == 2 for tensor in features)
    answers = [network.decode(features, torch.tensor([k])) for k in (2, 0, 2)]
    torch.testing.assert_close(torch.cat(answers, 1), network(image)[:, [2, 0, 2]])


@torch.no_grad()
def test_images_of_a_batch_do_not_mix(name: str) -> None:
    network, image = build(name, norm="instance"), images(2, 1, 12, 8, 8)
    torch.testing.assert_close(network(image)[1:], network(image[1:]))


def test_what_is_no_index_is_refused(name: str) -> None:
    network, image = build(name), images(2, 1, 12, 8, 8)
    for wrong in (torch.eye(3), torch.zeros(3, 1).long(), torch.tensor(1), torch.tensor([3]), torch.tensor([0, -1])):
        with pytest.raises((RuntimeError, IndexError), match=r"indices|out of (range|bounds)"):
            network(image, wrong)


@torch.no_grad()
def test_scripted_it_gives_the_same(name: str) -> None:
    network, image = build(name), images(2, 1, 12, 9, 8)
    scripted = torch.jit.script(network)
    torch.testing.assert_close(scripted(image), network(image))
    for asked in (torch.tensor([2, 0]), torch.tensor([[2, 0], [1, 1]])):
        torch.testing.assert_close(scripted(image, asked), network(image, asked))


@torch.no_grad()
@pytest.mark.parametrize("name", ["IndividualNetworks", "MultiLayer", "MultiDecoder"])
def test_exported_it_gives_the_same_for_any_regions(name: str) -> None:
    """A program has no branches: what is not asked for is computed too, and left out."""
    network, image = build(name, channels=(2, 4)), images(2, 1, 6, 5, 4)
    free = torch.export.Dim.AUTO
    program = torch.export.export(
        network, (image, torch.tensor([2, 0])), dynamic_shapes=(None, {0: free}), strict=False
    ).module()
    for asked in (torch.tensor([2, 0]), torch.tensor([1, 1, 0])):
        torch.testing.assert_close(program(image, asked), network(image, asked))


def test_arguments_build_it_again(name: str) -> None:
    options = {"in_channels": 2, "convs_per_level": 1, "norm": "instance", "skip": "first_conv"}
    network = build(name, **options)
    again = NETWORKS[name](**network.arguments).double()
    again.load_state_dict(network.state_dict())
    image = images(1, 2, 12, 12, 8)
    torch.testing.assert_close(again.eval()(image), network(image))


def test_weights_that_lack_something_are_refused(name: str) -> None:
    network = build(name)
    weights = network.state_dict()
    weights.pop(next(reversed(weights)))
    with pytest.raises(RuntimeError, match="the checkpoint lacks 1 weights"):
        network.load_state_dict(weights, strict=False)


def test_every_weight_learns_from_all_regions(name: str) -> None:
    network = build(name)
    network(images(2, 1, 12, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "millions"),
    [("IndividualNetworks", 7.31), ("UNet", 1.46), ("MultiLayer", 1.47), ("MultiDecoder", 3.79), ("DoDNet", 1.48)],
)
def test_as_many_parameters_as_in_the_papers_second_table(name: str, millions: float) -> None:
    count = sum(parameter.numel() for parameter in NETWORKS[name](num_regions=5).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.02)


@pytest.mark.parametrize("last_relu", [True, False])
@pytest.mark.parametrize("name", ["UNet", "MultiLayer", "MultiDecoder", "IndividualNetworks"])
@torch.no_grad()
def test_without_relu_a_last_layer_finds_its_region_whatever_the_sign_of_its_weights(
    name: str, last_relu: bool
) -> None:
    network = build(name, norm="instance", last_relu=last_relu)
    finals = [layer for layer in network.modules() if isinstance(layer, nn.Conv3d) and layer.kernel_size == (1, 1, 1)]
    for sign in (1, -1):
        for layer in finals:
            layer.weight.fill_(sign)
            layer.bias.zero_()
        found = (network(images(1, 1, 12, 8, 8)) > 0).flatten(2).any(2)
        assert bool(found.all() if sign > 0 or not last_relu else not found.any())


@pytest.mark.parametrize("name", ["UNet", "MultiDecoder", "IndividualNetworks"])
def test_a_training_of_before_is_still_this_network(name: str) -> None:
    assert "last_relu" not in build(name).arguments  # nor in what such a training noted of itself
    assert build(name, last_relu=False).arguments["last_relu"] is False


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("methods/*.json")), ids=lambda file: file.stem)
def test_no_method_compared_has_a_relu_before_its_last_layer(file: Path) -> None:
    definition = json.loads(file.read_text()).get("network_def")
    if definition:
        takes = inspect.signature(locate(definition["_target_"])).parameters
        assert definition.get("last_relu") == (False if "last_relu" in takes else None)


@pytest.mark.parametrize("name", ["IndividualNetworks", "MultiLayer", "MultiDecoder"])
def test_only_what_is_asked_for_is_computed(name: str) -> None:
    network = build(name)
    branches = next(module for module in network.modules() if hasattr(module, "branches")).branches
    computed: list[int] = []
    for k, branch in enumerate(branches):
        branch.register_forward_hook(lambda module, inputs, output, k=k: computed.append(k))
    network(images(2, 1, 12, 8, 8), torch.tensor([2, 0]))
    assert sorted(computed) == [0, 2]
    computed.clear()
    network(images(2, 1, 12, 8, 8), torch.tensor([[1], [1]]))
    assert computed == [1]


@torch.no_grad()
def test_the_head_of_dodnet_depends_on_the_image() -> None:
    network, image = build("DoDNet"), images(1, 1, 12, 8, 8)
    weights: list[torch.Tensor] = []
    network.controller.register_forward_hook(lambda module, inputs, output: weights.append(output))
    network(image)
    network(image + 1)
    assert weights[0].shape == (1, 3, 16 + 8 + 64 + 8 + 8 + 1)
    assert (weights[0] - weights[1]).abs().max() > 1e-3
