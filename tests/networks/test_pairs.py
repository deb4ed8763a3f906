"""Pairs of an image and a region, of images that are encoded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from conemos_bundle.networks import NETWORKS
from torch import nn

IMAGES, REGIONS = torch.tensor([0, 2, 2, 0, 2]), torch.tensor([[2], [0], [1], [0], [0]])  # image 1 is not asked
VOXELS = 13 * 9 * 8


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = NETWORKS[request.param](num_regions=3, channels=(2, 4, 6), norm="instance")
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.3)
    return built.double()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(3, 1, 13, 9, 8, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def _counted(method: Callable[..., Any], sizes: list[int], first: Any, *others: Any) -> Any:
    sizes.append(len(first[0] if isinstance(first, list) else first))
    return method(first, *others)


def calls(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """The batch sizes that its ``encode`` and ``decode`` are called with, from now on."""
    seen: dict[str, list[int]] = {"encode": [], "decode": []}
    for name, sizes in seen.items():
        monkeypatch.setattr(network, name, partial(_counted, getattr(network, name), sizes))
    return seen


def test_pairs_are_answered_as_if_each_were_asked_alone(network: nn.Module, image: torch.Tensor) -> None:
    logits = network(image, REGIONS, IMAGES)
    assert logits.shape == (5, 1, 13, 9, 8)
    for i, region, answer in zip(IMAGES, REGIONS, logits, strict=True):
        torch.testing.assert_close(answer[None], network(image[i : i + 1], region))


def gradients(network: nn.Module, image: torch.Tensor, *voxels_at_once: int) -> list[torch.Tensor]:
    parameters = list(network.parameters())
    logits = network(image, REGIONS, IMAGES, *voxels_at_once)
    weight = torch.randn(logits.shape, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    return list(torch.autograd.grad((logits * weight).square().sum(), parameters))


@pytest.mark.parametrize("pairs", [1, 2, 4])
def test_chunks_change_neither_logits_nor_gradients(
    network: nn.Module, image: torch.Tensor, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, whole = gradients(network, image), network(image, REGIONS, IMAGES)
    torch.testing.assert_close(network(image, REGIONS, IMAGES, pairs * VOXELS), whole)
    torch.testing.assert_close(gradients(network, image, pairs * VOXELS), expected)
    seen = calls(network, monkeypatch)
    gradients(network, image, pairs * VOXELS + VOXELS // 2)
    sizes = {1: [1] * 5, 2: [2, 2, 1], 4: [4, 1]}[pairs]
    assert (seen["encode"], seen["decode"][: len(sizes)]) == ([3], sizes)
    assert sorted(seen["decode"]) == sorted(2 * sizes)  # once more in the backward pass


def test_one_encoding_and_one_decoding_of_the_pairs_asked_for(
    network: nn.Module, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = calls(network, monkeypatch)
    gradients(network, image, 5 * VOXELS)
    assert seen == {"encode": [3], "decode": [5]}


def kept(network: nn.Module, image: torch.Tensor, pairs: int, **options: int) -> int:
    """Bytes that wait for the backward pass."""
    sizes: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    asked = torch.arange(pairs)[:, None] % 3
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(image[:1], asked, torch.zeros(pairs, dtype=torch.long), **options)
    assert logits.requires_grad
    return sum(sizes.values())


def test_chunks_keep_no_activations(image: torch.Tensor) -> None:
    network = NETWORKS["FiLMUNet"](num_regions=3, channels=(8, 8), norm="instance").double()
    few, many = (kept(network, image, pairs, voxels_at_once=VOXELS) for pairs in (2, 12))
    assert many - few < VOXELS * 8  # less than a tensor of one channel
    assert kept(network, image, 12) - kept(network, image, 2) > 10 * 50 * VOXELS * 8
