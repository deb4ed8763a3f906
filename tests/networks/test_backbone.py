from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.networks.blocks import ConvBlock
from conemos_bundle.networks.film import FiLM

SIZES = [(8, 8, 8), (7, 9, 5), (3, 1, 2), (1, 1, 1), (13, 8, 4), (1, 9, 8)]
FEATURES = [2, 2, 4, 4, 2, 2, 3]  # of the convolutions of two levels, and 3 logits


def run(network: Backbone, image: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
    return network.decode(network.encode(image), z)


@pytest.mark.parametrize("norm", [None, "instance", "batch"])
@pytest.mark.parametrize("skip", ["last", "first_conv"])
@pytest.mark.parametrize("size", SIZES)
def test_the_logits_have_the_size_of_the_image(size: tuple[int, ...], skip: str, norm: str | None) -> None:
    network = Backbone(2, 3, channels=(2, 4, 4), norm=norm, skip=skip)
    logits = run(network, torch.randn(2, 2, *size))
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("channels", [(2,), (2, 4), (2, 4, 4, 4)])
@pytest.mark.parametrize("convs", [1, 3])
def test_levels_and_convolutions(channels: tuple[int, ...], convs: int) -> None:
    network = Backbone(channels=channels, convs_per_level=convs, out_channels=5)
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv3d)]
    assert [c.out_channels for c in convolutions] == network.conv_channels
    assert len(convolutions) == (2 * len(channels) - 1) * convs + 1
    assert run(network, torch.randn(1, 1, 9, 8, 7)).shape == (1, 5, 9, 8, 7)


@pytest.mark.parametrize("skip", ["last", "first_conv"])
@pytest.mark.parametrize("conditioned", [0, 3, 7])
def test_two_levels_by_hand(conditioned: int, skip: str) -> None:
    """The paper's UNet written out: two 3×3×3 convolutions with ReLU a level, max pooling, nearest, concatenation.

    The last ``conditioned`` of its 7 convolutions are FiLM-ed; the skip of the authors' code is taken before that.
    """
    options = {"embedding": 2, "n_conditioned": conditioned} if conditioned else {}
    network = Backbone(channels=(2, 4), out_channels=3, skip=skip, **options)
    weights = {name: torch.randn_like(value) / 5 for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    films = [torch.zeros(2, 2, c) for c in FEATURES]  # γ and β of two images
    z, own = torch.randn(2, 2), [module for module in network.modules() if isinstance(module, FiLM)]
    for film_layer, place in zip(own, range(7 - conditioned, 7), strict=True):
        films[place] = torch.stack(film_layer.projection(z).detach().chunk(2, 1))

    def film(x: torch.Tensor, i: int) -> torch.Tensor:
        gamma, beta = films[i].reshape(2, 2, -1, 1, 1, 1)
        return (1 + gamma) * x + beta

    def relu(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv3d(x, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], padding=1).relu()

    image = torch.randn(2, 1, 6, 4, 8)
    first = relu(image, "encoder.levels.0.0")
    last = film(relu(film(first, 0), "encoder.levels.0.1"), 1)
    coarse = film(relu(F.max_pool3d(last, 2), "encoder.levels.1.0"), 2)
    coarse = film(relu(coarse, "encoder.levels.1.1"), 3)
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    joined = torch.cat([last if skip == "last" else first, fine], dim=1)
    x = film(relu(film(relu(joined, "decoder.levels.0.0"), 4), "decoder.levels.0.1"), 5)
    expected = film(F.conv3d(x, weights["final.weight"], weights["final.bias"]), 6)
    torch.testing.assert_close(run(network, image, z if conditioned else None), expected, rtol=1e-4, atol=1e-5)


def test_odd_sizes_are_padded_with_zeros_at_the_end_and_cropped_back() -> None:
    network = Backbone(channels=(2, 4, 4))
    image = torch.randn(1, 1, 7, 8, 5)
    padded = torch.zeros(1, 1, 8, 8, 8)
    padded[..., :7, :8, :5] = image
    torch.testing.assert_close(run(network, image), run(network, padded)[..., :7, :8, :5])


@pytest.mark.parametrize(("position", "below_zero"), [("after_activation", True), ("before_activation", False)])
def test_film_position(position: str, below_zero: bool) -> None:
    gamma, beta = torch.randn(1, 2), torch.tensor([[-0.5, -0.25]])
    film = FiLM(1, 2)
    with torch.no_grad():
        film.projection.weight.copy_(torch.cat([gamma, beta], 1).T)
        film.projection.bias.zero_()
    layer = ConvBlock(1, 2, None, False, position, film)
    image = torch.randn(1, 1, 4, 4, 4)
    scale, shift = (1 + gamma).view(1, 2, 1, 1, 1), beta.view(1, 2, 1, 1, 1)
    convolved = layer.conv(image)
    expected = scale * convolved.relu() + shift if below_zero else (scale * convolved + shift).relu()
    output, activation = layer.activate(layer.convolve(image), torch.ones(1, 1))
    assert torch.equal(layer(image, torch.ones(1, 1)), output)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(activation, convolved.relu() if below_zero else expected)
    assert bool((output < 0).any()) is below_zero


def test_instance_norm_comes_before_the_activation_and_is_affine() -> None:
    layer = ConvBlock(1, 2, "instance", False, "after_activation", None)
    with torch.no_grad():
        layer.norm.weight.copy_(torch.tensor([2.0, 3.0]))
        layer.norm.bias.copy_(torch.tensor([0.5, -0.5]))
    image = torch.randn(2, 1, 6, 6, 6)
    output = layer(image)
    convolved = layer.conv(image)
    mean, variance = convolved.mean((2, 3, 4), keepdim=True), convolved.var((2, 3, 4), keepdim=True, correction=0)
    normed = (convolved - mean) / (variance + 1e-5).sqrt()
    scale, shift = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1, 1), torch.tensor([0.5, -0.5]).view(1, 2, 1, 1, 1)
    torch.testing.assert_close(output, (scale * normed + shift).relu(), rtol=1e-4, atol=1e-5)


def test_weights_start_as_in_keras() -> None:
    network = Backbone(channels=(8, 16))
    for name, value in network.state_dict().items():
        if name.endswith("bias"):
            assert not value.any()
        else:
            bound = (6 / (value[0].numel() + value[:, 0].numel())) ** 0.5  # Glorot's uniform distribution
            assert value.abs().max() <= bound
            if value.numel() > 100:
                assert value.abs().max() > 0.8 * bound


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": 2, "n_conditioned": 16}, "n_conditioned=16: this network has 1 to 15"),
        ({"norm": "layer"}, "norm='layer': use one of"),
        ({"skip": "none"}, "skip='none': use one of"),
        ({"film_position": "before"}, "film_position='before': use one of"),
        ({"channels": ()}, "at least one level"),
        ({"convs_per_level": 0}, "one convolution per level"),
    ],
)
def test_options_without_such_a_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Backbone(**options)


def test_bfloat16_gradients_of_small_volumes_are_finite() -> None:
    """With two voxels along the first axis of a level, oneDNN's weight gradients held what the memory held before."""
    network = Backbone(channels=(4, 8, 16, 32), norm="instance")
    for size in (8, 16):
        for _ in range(5):
            memory = torch.full((1_000_003,), torch.nan)
            del memory
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = run(network, torch.rand(2, 1, size, size, size))
            network.zero_grad()
            logits.float().square().mean().backward()
            assert all(bool(parameter.grad.isfinite().all()) for parameter in network.parameters())
