from __future__ import annotations

import pytest
import torch
from conemos_bundle.networks.blocks import ConvBlock
from conemos_bundle.paper.bench.networks import (
    METHODS,
    OTHERS,
    basic_unet,
    concatenating,
    concatenating_unet,
    plain_unet,
)
from conemos_bundle.paper.bench.setup import Setup

SETUP = Setup(size=32, channels=(2, 3, 4))


def test_concatenating_gives_the_same_numbers_by_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, other = plain_unet(SETUP, 3), concatenating_unet(SETUP, 3)
    other.load_state_dict(plain.state_dict())
    image = torch.rand(2, 1, 32, 32, 32)
    with torch.no_grad():
        expected = plain(image)
        monkeypatch.delattr(ConvBlock, "convolve_up")  # what the plain one needs
        monkeypatch.delattr(ConvBlock, "convolve_skip")
        torch.testing.assert_close(other(image), expected, rtol=1e-4, atol=1e-5)
        with pytest.raises(AttributeError):
            plain(image)


@pytest.mark.parametrize("channels", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_each_network_has_an_output_per_region(channels: tuple[int, ...]) -> None:
    setup = Setup(size=48, channels=channels)
    for build in (*METHODS.values(), *OTHERS.values(), basic_unet):
        with torch.no_grad():
            assert build(setup, 2)(torch.rand(1, 1, 48, 48, 48)).shape == (1, 2, 48, 48, 48)


def test_monais_networks_have_the_features_asked_for() -> None:
    for build, convolutions in ((OTHERS["MONAI DynUNet"], 3 * 2 + 2 * 2), (basic_unet, 5 * 2 + 4 * 2)):
        weights = [w for w in build(SETUP, 1).parameters() if w.dim() == 5 and w.shape[2] == 3]
        assert len(weights) == convolutions
        assert [w.shape[0] for w in weights[:6]] == [2, 2, 3, 3, 4, 4]


def test_n_7_has_film_after_seven_convolutions() -> None:
    def films(name: str) -> int:
        return sum(key.endswith("film.projection.bias") for key in METHODS[name](SETUP, 2).state_dict())

    assert (films("CoNeMOS"), films("CoNeMOS, N = 7")) == (11, 7)


@pytest.mark.parametrize("method", ["CoNeMOS", "CoNeMOS, N = 7", "Multi-decoder", "DoDNet"])
def test_any_method_can_concatenate(method: str) -> None:
    torch.manual_seed(0)
    network, image = METHODS[method](SETUP, 3).double(), torch.rand(2, 1, 48, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = network(image)
        torch.testing.assert_close(concatenating(network)(image), expected, rtol=0, atol=1e-9)
