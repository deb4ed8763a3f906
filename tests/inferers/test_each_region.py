"""Regions one after the other: the logits of all together, in memory that does not grow with their number."""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

import pytest
import torch
from conemos_bundle.inferers import infer
from conemos_bundle.inferers.each_region import infer_each, outer_first
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.networks import FiLMUNet, GrownUNet
from monai.data import MetaTensor

K = 12
PARENTS = {2: 1, 1: 0, 3: 0}  # 2 inside 1 inside 0, 3 inside 0; others stand alone
SIZE = (20, 16, 24)
INFERER = partial(infer, mode="window", window=(8, 16, 16), parents={4: 5})  # parents are those that are passed


@pytest.fixture
def network() -> FiLMUNet:
    torch.manual_seed(0)
    return FiLMUNet(num_regions=K, channels=(2, 4), norm="instance", n_conditioned=3).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 1, *SIZE, generator=torch.Generator().manual_seed(1))


def test_each_region_is_right_behind_those_it_lies_inside_of() -> None:
    assert outer_first([2, 4, 3, 0], PARENTS) == [4, 0, 3, 1, 2]
    assert outer_first([2], PARENTS) == [0, 1, 2]
    assert outer_first([5, 4], {}) == [5, 4]


@torch.no_grad()
@pytest.mark.parametrize("regions_at_once", [0, 1, 2, 3, K])
@pytest.mark.parametrize("asked", [[2], [3, 2, 4], [0, 1, 2, 3, 4, 11]])
def test_as_all_together(network: FiLMUNet, image: torch.Tensor, asked: list[int], regions_at_once: int) -> None:
    together = infer(image, network, torch.tensor(asked), "window", (8, 16, 16), parents=PARENTS)[0]
    names = {region: str(region) for region in asked}
    at_once = regions_at_once * image.numel()
    found = dict(infer_each(INFERER, image, EncodeOnce(network), names, PARENTS, at_once))
    assert sorted(found) == sorted(asked)
    for place, region in enumerate(asked):
        torch.testing.assert_close(found[region], together[place], rtol=1e-4, atol=1e-5)
        assert torch.equal(found[region] > 0, together[place] > 0)


@torch.no_grad()
@pytest.mark.parametrize("asked", [[3, 0, 1, 2], [0, 4, 1, 3, 2]], ids=str)
def test_added_regions_do_not_change_which_old_ones_are_computed_together(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, image = GrownUNet(num_regions=5, added=2, channels=(2, 4)).eval(), torch.rand(1, 1, 8, 8, 8)
    decode, together = network.base.decode, []
    monkeypatch.setattr(
        network.base, "decode", lambda x, regions: together.append(regions.tolist()) or decode(x, regions)
    )
    inferer = partial(infer, mode="whole")
    found = dict(infer_each(inferer, image, EncodeOnce(network), {k: str(k) for k in asked}, {}, 2 * image.numel()))
    assert together == [[0, 1], [2]]
    for region, logits in found.items():
        torch.testing.assert_close(logits, network(image, torch.tensor([region]))[0, 0])
    assert sorted(found) == sorted(asked)


def counting(network: FiLMUNet, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[int]]:
    """How many windows have been encoded, and of how many regions each decoding was, from now on."""
    encoded, decoded = [0], []
    encode, decode = network.encode, network.decode

    def counted(image: torch.Tensor) -> list[torch.Tensor]:
        encoded[0] += 1
        return encode(image)

    def noted(features: list[torch.Tensor], regions: torch.Tensor) -> torch.Tensor:
        decoded.append(len(regions))
        return decode(features, regions)

    monkeypatch.setattr(network, "encode", counted)
    monkeypatch.setattr(network, "decode", noted)
    return encoded, decoded


@torch.no_grad()
def test_windows_are_encoded_once_as_long_as_their_features_fit(
    network: FiLMUNet, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = network.encode(image[:, :, :8, :16, :16])
    of_one = sum(tensor.numel() * tensor.element_size() for tensor in window)
    encoded, _ = counting(network, monkeypatch)
    names = {region: str(region) for region in range(4)}
    windows = 4 * 1 * 2
    for kept, times in ((windows, windows), (3, 3 + 4 * (windows - 3)), (0, 4 * windows)):
        encoded[0] = 0
        once = EncodeOnce(network, most_bytes=kept * of_one)
        list(infer_each(INFERER, image, once, names, {}, voxels_at_once=0))
        assert encoded[0] == times  # four passes, one per region
    encoded[0] = 0
    list(infer_each(INFERER, image, EncodeOnce(network, most_bytes=0), names, {}))
    assert encoded[0] == windows  # all in one pass


@torch.no_grad()
def test_a_few_regions_of_a_window_are_decoded_at_once(
    network: FiLMUNet, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels, asked = image[0, 0].numel(), torch.tensor([3, 1, 4, 0, 5])
    expected = network(image, asked)
    _, decoded = counting(network, monkeypatch)
    for at_once, parts in ((2 * voxels, [2, 2, 1]), (5 * voxels, [5]), (1, [1] * 5)):
        decoded.clear()
        logits = EncodeOnce(network, voxels_decoded=at_once)(image, asked)
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
        assert decoded == parts


def volumes() -> int:
    """How many float volumes of the scan's size are in memory, beside those that were there before ``gc.freeze``."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if type(each) in (torch.Tensor, MetaTensor)]
    tensors = [each for each in tensors if each.layout == torch.strided]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    whole = 4 * SIZE[0] * SIZE[1] * SIZE[2]
    return sum(size // whole for size in storages.values())


@torch.no_grad()
def test_memory_does_not_grow_with_the_regions(network: FiLMUNet, image: torch.Tensor) -> None:
    most: dict[int, int] = {}

    def counted(*arguments: Any, **options: Any) -> torch.Tensor:
        most[count] = max(most[count], volumes())  # of regions before this one
        return INFERER(*arguments, **options)

    gc.collect()  # what other tests left
    gc.freeze()  # the image too; and a million objects of other tests need not be looked at again and again
    try:
        for count in (1, 4, K):
            most[count] = 0
            names = {region: str(region) for region in range(count)}
            for _, logits in infer_each(counted, image, EncodeOnce(network, most_bytes=0), names, PARENTS, 0):
                most[count] = max(most[count], volumes())
                del logits
    finally:
        gc.unfreeze()
    assert most[1] == 1
    assert most[4] == most[K] == 2  # a region, and that which the next one lies inside of
