"""Old regions are the network's that grew, to the bit; added ones are passes of their own, in any order."""

from __future__ import annotations

import pytest
import torch
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.networks import GrownUNet


@pytest.fixture
def network() -> GrownUNet:
    torch.manual_seed(0)
    grown = GrownUNet(
        num_regions=5, added=2, channels=(4, 8), norm="instance", film_position="before_activation", n_conditioned=3
    )
    for parameter in grown.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return grown.eval()


@torch.no_grad()
@pytest.mark.parametrize("asked", [[0], [2, 1, 0], [4, 0, 3, 1], [3], [3, 3, 4], [0, 1, 2, 3, 4]], ids=str)
def test_any_regions_in_any_order(network: GrownUNet, asked: list[int]) -> None:
    image = torch.rand(2, 1, 16, 12, 16)
    found = network(image, torch.tensor(asked))
    old = [region for region in asked if region < 3]
    if old:
        assert torch.equal(found[:, [i for i, k in enumerate(asked) if k < 3]], network.base(image, torch.tensor(old)))
    for place, region in enumerate(asked):
        assert torch.allclose(found[:, place], network(image, torch.tensor([region]))[:, 0], atol=1e-5)
    every = network._every(network.encode(image), torch.tensor(asked).expand(2, -1))
    assert torch.allclose(found, every, atol=1e-5)


@torch.no_grad()
def test_all_and_of_each_image_its_own(network: GrownUNet) -> None:
    image = torch.rand(2, 1, 16, 16, 16)
    assert torch.equal(network(image), network(image, torch.arange(5)))
    found = network(image, torch.tensor([[0, 4], [3, 1]]))
    assert torch.equal(found[:1], network(image[:1], torch.tensor([0, 4])))
    assert torch.equal(found[1:], network(image[1:], torch.tensor([3, 1])))


@torch.no_grad()
def test_images_of_a_batch_do_not_mix() -> None:
    torch.manual_seed(0)
    network = GrownUNet(num_regions=3, added=1, channels=(4, 8), norm="instance", film_position="before_activation")
    for parameter in network.parameters():  # scales of norms below 0, too
        torch.nn.init.normal_(parameter, std=0.3)
    network, image = network.eval(), torch.rand(2, 1, 16, 12, 16)
    torch.testing.assert_close(network(image), torch.cat([network(image[:1]), network(image[1:])]))


@torch.no_grad()
def test_decoded_a_few_at_a_time_the_old_ones_are_not_mixed_with_the_new(network: GrownUNet) -> None:
    image = torch.rand(1, 1, 16, 16, 16)
    for at_once in (1, 2, 3, 8):
        inferer = [EncodeOnce(each, voxels_decoded=at_once * 16**3) for each in (network, network.base)]
        asked = torch.tensor([4, 0, 1, 3, 2])
        found = inferer[0](image, asked)
        assert torch.equal(found[:, [1, 2, 4]], inferer[1](image, torch.tensor([0, 1, 2])))
        assert torch.allclose(found, network(image, asked), atol=1e-5)


@torch.no_grad()
def test_added_regions_alone_cost_no_pass_of_the_others(network: GrownUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    image, encoded = torch.rand(1, 1, 16, 16, 16), []
    encode = network.base.encode
    monkeypatch.setattr(network.base, "encode", lambda given: encoded.append(given) or encode(given))
    inferer = EncodeOnce(network)
    expected = torch.cat([network.added[k](image) for k in (1, 0)], 1)
    for asked in (torch.tensor([4, 3]), torch.tensor([[4, 3]])):
        assert torch.equal(network(image, asked), expected)
    assert torch.equal(inferer(image, torch.tensor([4, 3])), expected)
    assert not encoded
    inferer.begin()
    assert torch.equal(inferer(image, torch.tensor([1])), network.base(image, torch.tensor([1])))
    assert torch.equal(network(image, torch.tensor([4, 1]))[:, 1:], network.base(image, torch.tensor([1])))
    assert len(encoded) == 4


@torch.no_grad()
def test_torchscript(network: GrownUNet) -> None:
    scripted, image = torch.jit.script(network), torch.rand(2, 1, 16, 16, 16)
    for asked in ([0, 1], [4, 0], [3]):
        assert torch.equal(scripted(image, torch.tensor(asked)), network(image, torch.tensor(asked)))


def test_what_it_does_not_know(network: GrownUNet) -> None:
    image = torch.rand(1, 1, 16, 16, 16)
    for region in (-1, 5):
        with pytest.raises(RuntimeError, match="index of a region out of range"):
            network(image, torch.tensor([region]))
    for added in (0, 5):
        with pytest.raises(ValueError, match=f"added={added}: of 5 regions at least one is added"):
            GrownUNet(num_regions=5, added=added)
