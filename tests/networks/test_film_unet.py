from __future__ import annotations

from functools import partialmethod
from typing import Any

import pytest
import torch
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.networks.backbone import Backbone
from conemos_bundle.networks.blocks import ConvBlock
from conemos_bundle.networks.film import FiLM
from conemos_bundle.networks.film_unet import region_codes
from torch import nn

K = 3
OPTIONS = [
    {},
    {"n_conditioned": 5, "skip": "first_conv"},
    {"norm": "instance", "film_position": "before_activation"},
    {"n_conditioned": 1, "norm": "batch"},
    {"in_channels": 2, "mlp_depth": 0},
]


def films(network: nn.Module) -> list[FiLM]:
    return [module for module in network.modules() if isinstance(module, FiLM)]


def plain(network: FiLMUNet, image: torch.Tensor) -> torch.Tensor:
    """The logits of a UNet with the convolutions of ``network``."""
    arguments = {
        name: value for name, value in network.arguments.items() if name in ("in_channels", "channels", "norm")
    }
    backbone = Backbone(out_channels=1, bias=False, **arguments).eval()
    backbone.load_state_dict(network.backbone.state_dict(), strict=False)
    return backbone.decode(backbone.encode(image), None)


def network_and_image(**options: Any) -> tuple[FiLMUNet, torch.Tensor]:
    torch.manual_seed(0)
    network = FiLMUNet(num_regions=K, channels=(4, 8, 16), **options).eval()
    return network, torch.randn(2, options.get("in_channels", 1), 9, 8, 10)


@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_four_ways_to_ask_for_a_region_agree(options: dict[str, Any]) -> None:
    network, image = network_and_image(**options)
    all_regions = network(image)
    assert all_regions.shape == (2, K, *image.shape[2:])
    assert (all_regions[:, 0] - all_regions[:, 1]).abs().max() > 1e-3  # else the equalities below say nothing
    for k in range(K):
        torch.testing.assert_close(network(image, torch.tensor([k])), all_regions[:, k : k + 1])
        torch.testing.assert_close(network(image, torch.tensor([[k], [k]])), all_regions[:, k : k + 1])
        torch.testing.assert_close(network.decode(network.encode(image), torch.tensor([k])), all_regions[:, k : k + 1])


@pytest.mark.parametrize("n", range(1, 12))
@pytest.mark.parametrize("skip", ["last", "first_conv"])
@torch.no_grad()
def test_an_image_is_encoded_once_however_often_it_is_asked(n: int, skip: str) -> None:
    network, image = network_and_image(n_conditioned=n, skip=skip)
    features = network.encode(image)
    before = [tensor.clone() for tensor in features]
    answers = [network.decode(features, torch.tensor([k])) for k in (2, 0, 2)]
    assert all(torch.equal(a, b) for a, b in zip(features, before, strict=True))
    torch.testing.assert_close(torch.cat(answers, 1), network(image)[:, [2, 0, 2]])
    assert torch.equal(features[0], image)


@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_regions_come_in_the_order_asked_for(options: dict[str, Any]) -> None:
    network, image = network_and_image(**options)
    all_regions = network(image)
    for asked in ([2, 0], [1, 2, 0], [0, 0]):
        torch.testing.assert_close(network(image, torch.tensor(asked)), all_regions[:, asked])


@torch.no_grad()
def test_each_image_of_a_batch_has_its_own_regions() -> None:
    network, image = network_and_image()
    all_regions = network(image)
    logits = network(image, torch.tensor([[2], [1]]))
    assert logits.shape == (2, 1, *image.shape[2:])
    torch.testing.assert_close(logits, torch.stack([all_regions[0, 2:3], all_regions[1, 1:2]]))
    two = network(image, torch.tensor([[2, 0], [1, 1]]))
    torch.testing.assert_close(two, torch.stack([all_regions[0, [2, 0]], all_regions[1, [1, 1]]]))


@pytest.mark.parametrize("options", [{}, {"norm": "instance", "film_position": "before_activation"}], ids=str)
@torch.no_grad()
def test_images_of_a_batch_do_not_mix(options: dict[str, Any]) -> None:
    network, image = network_and_image(n_conditioned=5, **options)
    for parameter in network.parameters():  # scales of norms below 0, too: instance norm twice would lose their sign
        nn.init.normal_(parameter, std=0.3)
    network, image, asked = network.double(), image.double(), torch.tensor([1, 0])
    apart = torch.cat([network(image[:1], asked), network(image[1:], asked)])
    torch.testing.assert_close(network(image, asked), apart)


@torch.no_grad()
def test_indices_of_any_integer_type() -> None:
    network, image = network_and_image()
    asked = torch.tensor([2, 0])
    assert torch.equal(network(image, asked.to(torch.uint8)), network(image, asked))


@torch.no_grad()
def test_with_identity_all_regions_begin_alike_and_unmodulated() -> None:
    network, image = network_and_image(film_init="identity")
    all_regions = network(image)
    assert torch.equal(all_regions[:, 0], all_regions[:, 2])
    torch.testing.assert_close(all_regions[:, :1], plain(network, image))  # as long as γ = β = 0


def test_with_identity_the_first_step_takes_regions_apart() -> None:
    network, image = network_and_image(film_init="identity")
    network(image, torch.tensor([[0], [1]])).square().mean().backward()
    assert all(film.projection.weight.grad.abs().max() > 0 for film in films(network))


def test_the_network_of_the_paper_has_1_563_394_parameters() -> None:
    assert sum(parameter.numel() for parameter in FiLMUNet(num_regions=5).parameters()) == 1_563_394


@pytest.mark.parametrize("n", range(1, 16))
def test_only_the_last_n_convolutions_have_film(n: int) -> None:
    network = FiLMUNet(num_regions=2, channels=(2, 3, 4, 5), n_conditioned=n)
    features = [2, 2, 3, 3, 4, 4, 5, 5, 4, 4, 3, 3, 2, 2, 1]
    assert [film.projection.out_features for film in films(network)] == [2 * c for c in features[-n:]]
    image = torch.randn(1, 1, 8, 8, 8)
    network(image).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())  # DDP waits for each of them


def test_all_convolutions_are_conditioned_by_default() -> None:
    assert len(films(FiLMUNet())) == 15


@pytest.mark.parametrize("film_position", ["after_activation", "before_activation"])
@pytest.mark.parametrize("skip", ["last", "first_conv"])
@pytest.mark.parametrize("n", [1, 5, 8, 11])
@pytest.mark.parametrize("rows", [1, 3])
@torch.no_grad()
def test_what_no_film_precedes_is_computed_once(
    rows: int, n: int, skip: str, film_position: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, image = network_and_image(n_conditioned=n, skip=skip, film_position=film_position)
    batches: dict[str, list[int]] = {"convolve": [], "convolve_up": [], "convolve_skip": []}
    for name, found in batches.items():

        def counting(block: Any, x: torch.Tensor, *rest: Any, method: Any, found: list[int] = found) -> torch.Tensor:
            found.append(x.shape[0])
            return method(block, x, *rest)

        monkeypatch.setattr(ConvBlock, name, partialmethod(counting, method=getattr(ConvBlock, name)))
    assert isinstance(network.backbone.final, nn.Conv3d)
    network.backbone.final.register_forward_hook(lambda _, inputs, output: batches["convolve"].append(output.shape[0]))
    network(image, torch.arange(rows))
    once = 11 - n + 1  # the first conditioned convolution itself precedes its FiLM
    assert sorted(batches["convolve"] + batches["convolve_up"]) == sorted([2] * once + [2 * rows] * (n - 1))
    assert len(batches["convolve_up"]) == 2
    plain = 11 - n
    for level, batch in enumerate(sorted(batches["convolve_skip"])):
        taken_after = 2 * level if skip == "first_conv" else 2 * level + 1  # the convolution
        precedes_film = skip == "first_conv" and film_position == "after_activation"
        assert batch == (2 if taken_after < plain + precedes_film else 2 * rows)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("skip", ["last", "first_conv"])
@torch.no_grad()
def test_features_hold_only_what_decoding_reads(n: int, skip: str) -> None:
    network, image = network_and_image(n_conditioned=n, skip=skip)
    features = network.encode(image)
    for i in range(1, len(features)):
        changed = [tensor + 1.0 if i == j else tensor for j, tensor in enumerate(features)]
        assert not torch.equal(network.decode(changed), network.decode(features)), i


@torch.no_grad()
def test_regions_are_embedded_once_per_call() -> None:
    network, image = network_and_image()
    codes: list[torch.Tensor] = []
    network.embedding.register_forward_hook(lambda module, inputs, output: codes.append(inputs[0]))
    network(image, torch.tensor([1, 0]))
    assert len(codes) == 1
    assert torch.equal(codes[0], torch.eye(K)[[1, 0]])  # R rows, not B * R


@torch.no_grad()
def test_gamma_and_beta_of_zero_give_a_plain_unet() -> None:
    network, image = network_and_image(norm="instance")
    for film in films(network):
        film.projection.weight.zero_()
        film.projection.bias.zero_()
    torch.testing.assert_close(network(image), plain(network, image).expand(-1, K, -1, -1, -1))


@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_torchscript(options: dict[str, Any]) -> None:
    network, image = network_and_image(**options)
    scripted = torch.jit.script(network)
    torch.testing.assert_close(scripted(image), network(image))
    for asked in (torch.tensor([2, 0]), torch.tensor([[2, 0], [1, 1]])):
        torch.testing.assert_close(scripted(image, asked), network(image, asked))
    with pytest.raises(torch.jit.Error, match="regions are indices"):
        scripted(image, torch.eye(K))


@torch.no_grad()
def test_export_takes_any_size() -> None:
    network, _ = network_and_image(norm="instance", film_position="before_activation")
    asked = torch.tensor([2, 0])
    sizes = dict.fromkeys((2, 3, 4), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(network, (torch.randn(1, 1, 9, 10, 11), asked), dynamic_shapes=(sizes, None))
    for size in [(9, 10, 11), (16, 12, 8), (13, 9, 10)]:
        image = torch.randn(1, 1, *size)
        torch.testing.assert_close(exported.module()(image, asked), network(image, asked))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("part", ["backbone.final_film.", "backbone.encoder.levels.0.0.", "embedding."])
def test_missing_weights_are_refused_whether_strict_or_not(part: str, strict: bool) -> None:
    network, _ = network_and_image()
    weights = {name: value for name, value in network.state_dict().items() if not name.startswith(part)}
    with pytest.raises(RuntimeError, match=rf"FiLMUNet: the checkpoint lacks \d+ weights, '{part}"):
        network.load_state_dict(weights, strict=strict)
    network.load_state_dict(network.state_dict(), strict=strict)


def test_arguments_build_the_same_network() -> None:
    network, image = network_and_image(n_conditioned=4, norm="instance", skip="first_conv")
    again = FiLMUNet(**network.arguments).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(image), network(image))


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (torch.zeros(2, K), "not a one-hot code"),
        (torch.zeros(3, 1, dtype=torch.long), "a row per image"),
        (torch.zeros(1, 2, 1, dtype=torch.long), "regions must be indices"),
        (torch.tensor(1), "regions must be indices"),
        (torch.tensor([0, K]), "out of range"),
        (torch.tensor([-1]), "out of range"),
    ],
)
def test_wrong_indices(regions: torch.Tensor, message: str) -> None:
    network, image = network_and_image()
    with pytest.raises((RuntimeError, IndexError), match=message):
        network(image, regions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_conditioned": 0}, "1 to 15"),
        ({"n_conditioned": 16}, "1 to 15"),
        ({"num_regions": 0}, "at least one region"),
        ({"norm": "group"}, "use one of"),
        ({"film_init": "zeros"}, "use one of"),
    ],
)
def test_options_without_such_a_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FiLMUNet(**options)


def test_what_is_told_of_a_region_and_a_spacing() -> None:
    codes = region_codes(2, [[3.0, 3.0, 2.0], [6.0, 6.0, 2.0]])
    expected = [[1, 0, -0.5, -0.5, 0], [0, 1, -0.5, -0.5, 0], [1, 0, 0.5, 0.5, 0], [0, 1, 0.5, 0.5, 0]]
    torch.testing.assert_close(codes, torch.tensor(expected))
    torch.testing.assert_close(region_codes(2, [[0.3, 0.3, 0.2], [0.6, 0.6, 0.2]]), codes)  # whatever the unit
    assert torch.equal(region_codes(3), torch.eye(3))


def test_one_region_is_answered_otherwise_at_another_spacing() -> None:
    torch.manual_seed(0)
    network = FiLMUNet(num_regions=K, channels=(2, 4), norm="instance", spacings=[[1.0] * 3, [2.0] * 3]).eval()
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        both = network(image, torch.tensor([0, K, 2 * K - 1]))
        torch.testing.assert_close(both[:, :1], network(image)[:, :1])  # all regions, at the first spacing
    assert not torch.allclose(both[:, 0], both[:, 1])
    with pytest.raises(IndexError):
        network(image, torch.tensor([2 * K]))


def test_without_spacings_weights_and_record_are_as_ever() -> None:
    network = FiLMUNet(num_regions=K, channels=(2, 4))
    assert "spacings" not in network.arguments
    assert not any(name.endswith("codes") for name in network.state_dict())
    assert network.num_indices == K
