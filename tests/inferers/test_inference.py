from __future__ import annotations

from typing import Any

import pytest
import torch
from conemos_bundle.inferers import infer
from conemos_bundle.networks import FiLMUNet, UNet
from torch import nn

K = 3


class Pointwise(nn.Module):
    """A 1×1×1 convolution behind the interface of the networks: where windows begin does not matter to it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, K, 1)
        self.sizes: list[tuple[int, ...]] = []
        self.given: list[dict[str, Any]] = []

    def forward(self, x: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
        self.sizes.append(tuple(x.shape[2:]))
        self.given.append(given)
        logits = self.conv(x)
        return logits if "regions" not in given else logits[:, given["regions"]]


@pytest.fixture
def network() -> FiLMUNet:
    torch.manual_seed(0)
    return FiLMUNet(num_regions=K, channels=(4, 8), norm="instance").eval()


@torch.no_grad()
def test_whole_is_the_network_itself(network: FiLMUNet) -> None:
    image, asked = torch.randn(2, 1, 9, 8, 11), torch.tensor([2, 0])
    assert torch.equal(infer(image, network), network(image))
    assert torch.equal(infer(image, network, regions=asked), network(image, asked))
    own = torch.tensor([[1, 0], [2, 2]])
    assert torch.equal(infer(image, network, regions=own), network(image, own))


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("size", [(12, 10, 9), (5, 20, 8)])
@torch.no_grad()
def test_windows_are_the_whole_where_windows_do_not_matter(size: tuple[int, ...], overlap: float) -> None:
    network, image, asked = Pointwise(), torch.randn(2, 1, *size), torch.tensor([2, 0])
    for given in ({}, {"regions": asked}):
        whole = infer(image, network, **given)
        network.sizes.clear()
        windows = infer(image, network, **given, mode="window", window=(8, 8, 8), overlap=overlap)
        assert set(network.sizes) == {(8, 8, 8)}
        assert len(network.sizes) > 2
        torch.testing.assert_close(windows, whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_windows_overlap_as_asked() -> None:
    network, image = Pointwise(), torch.randn(1, 1, 16, 8, 8)
    counts = {}
    for overlap in (0.0, 0.5, 0.75):
        network.sizes.clear()
        infer(image, network, mode="window", window=(8, 8, 8), overlap=overlap)
        counts[overlap] = len(network.sizes)
    assert counts == {0.0: 2, 0.5: 3, 0.75: 5}


class FirstOrLater(nn.Module):
    """0 all over the first window that it sees, 1 all over the later ones."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        return torch.full_like(x, min(1.0, self.seen - 1.0))


@torch.no_grad()
def test_where_windows_overlap_the_nearer_center_counts_more() -> None:
    """Two windows of 8 voxels that share voxels 4 to 7, with Gaussian weights of an eighth of the window."""
    logits = infer(torch.zeros(1, 1, 12, 8, 8), FirstOrLater(), mode="window", window=(8, 8, 8))[0, 0, :, 4, 4]
    weight = torch.exp(-((torch.arange(8) - 3.5) ** 2) / 2)
    first, second = weight[4:], weight[:4]
    torch.testing.assert_close(logits[4:8], second / (first + second), rtol=0, atol=0.02)
    assert logits[:4].tolist() == [0] * 4 and logits[8:].tolist() == [1] * 4


@torch.no_grad()
def test_windows_have_the_size_of_training_also_where_the_scan_is_smaller() -> None:
    network = Pointwise()
    logits = infer(torch.randn(1, 1, 5, 8, 9), network, mode="window", window=(8, 8, 8))
    assert set(network.sizes) == {(8, 8, 8)}
    assert logits.shape[2:] == (5, 8, 9)


@pytest.mark.parametrize("mode", ["whole", "window"])
@torch.no_grad()
def test_only_the_regions_asked_for_are_computed(network: FiLMUNet, mode: str) -> None:
    batches: list[int] = []
    network.backbone.final.register_forward_hook(lambda module, inputs, output: batches.append(output.shape[0]))
    image = torch.randn(1, 1, 8, 8, 8)
    for regions in ([1], [2, 0]):
        logits = infer(image, network, regions=torch.tensor(regions), mode=mode, window=(8, 8, 8))
        assert logits.shape[1] == len(regions)
    assert batches == [1, 2]


@torch.no_grad()
def test_what_is_not_given_is_not_passed_on() -> None:
    network, image, asked = Pointwise(), torch.randn(1, 1, 4, 4, 4), torch.tensor([0])
    infer(image, network)
    infer(image, network, regions=asked)
    assert [list(given) for given in network.given] == [[], ["regions"]]


@pytest.mark.parametrize("mode", ["whole", "window"])
@torch.no_grad()
def test_bfloat16_is_close_to_float32_and_comes_back_as_float32(network: FiLMUNet, mode: str) -> None:
    image = torch.rand(1, 1, 12, 12, 12)
    computed: list[torch.dtype] = []
    network.backbone.final.register_forward_hook(lambda module, inputs, output: computed.append(output.dtype))
    exact, coarse = (infer(image, network, mode=mode, window=(8, 8, 8), bfloat16=b) for b in (False, True))
    assert set(computed) == {torch.float32, torch.bfloat16}
    assert exact.dtype == coarse.dtype == torch.float32
    difference = (exact.sigmoid() - coarse.sigmoid()).abs()
    assert 0 < difference.max() < 0.05


def test_training_in_bfloat16_has_gradients_in_float32() -> None:
    network = UNet(num_regions=1, channels=(2, 4))
    infer(torch.rand(1, 1, 8, 8, 8), network, bfloat16=True).sum().backward()
    assert {parameter.grad.dtype for parameter in network.parameters()} == {torch.float32}


def test_unknown_mode_and_no_window() -> None:
    image = torch.zeros(1, 1, 4, 4, 4)
    with pytest.raises(ValueError, match="mode 'tiles': use one of window, whole"):
        infer(image, Pointwise(), mode="tiles")
    with pytest.raises(ValueError, match="mode 'window' needs a window"):
        infer(image, Pointwise(), mode="window")
