from __future__ import annotations

import pytest
import torch
from conemos_bundle.networks import UNet

K = 4


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    return UNet(num_regions=K, channels=(2, 4), norm="instance").eval()


@torch.no_grad()
def test_all_the_regions_asked_for_and_one_an_image(network: UNet) -> None:
    image = torch.randn(2, 1, 7, 6, 8)
    logits = network(image)
    assert logits.shape == (2, K, 7, 6, 8)
    assert torch.equal(logits, network.backbone.decode(network.backbone.encode(image), None))
    assert torch.equal(network(image, torch.tensor([3, 1])), logits[:, [3, 1]])
    own = network(image, torch.tensor([[2], [0]]))
    assert torch.equal(own, torch.stack([logits[0, 2:3], logits[1, 0:1]]))


def test_the_network_of_the_paper_has_1_458_880_convolution_weights() -> None:
    network = UNet(num_regions=1)
    weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
    assert sum(p.numel() for p in weights) == 1_458_880
    assert sum(p.numel() for p in network.parameters()) > 1_458_880  # its convolutions have biases


@torch.no_grad()
def test_torchscript(network: UNet) -> None:
    image, asked = torch.randn(2, 1, 7, 6, 8), torch.tensor([3, 1])
    scripted = torch.jit.script(network)
    torch.testing.assert_close(scripted(image), network(image))
    torch.testing.assert_close(scripted(image, asked), network(image, asked))


def test_missing_weights_are_refused_even_where_not_strict(network: UNet) -> None:
    weights = network.state_dict()
    del weights["backbone.final.weight"]
    with pytest.raises(RuntimeError, match=r"UNet: the checkpoint lacks 1 weights, 'backbone.final.weight'"):
        network.load_state_dict(weights, strict=False)


def test_arguments_build_the_same_network(network: UNet) -> None:
    again = UNet(**network.arguments).eval()
    again.load_state_dict(network.state_dict())
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(again(image), network(image))


def test_what_needs_no_cropping_is_not_copied() -> None:
    """Asked for one of 100 regions at a time, copies of all of them would take most of the time."""
    network = UNet(num_regions=3, channels=(2, 4), norm="instance").eval()
    with torch.inference_mode():
        features = network.encode(torch.rand(1, 1, 8, 8, 8))
        assert network.decode(features).data_ptr() == features[1].data_ptr()
        padded = network.encode(torch.rand(1, 1, 7, 8, 8))
        assert network.decode(padded).shape == (1, 3, 7, 8, 8)
