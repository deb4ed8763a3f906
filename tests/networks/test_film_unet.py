from __future__ import annotations

from typing import Any

import pytest
import torch
from conemos_bundle.networks import FiLMUNet
from torch import nn

K = 3
OPTIONS = [
    {},
    {"n_conditioned": 5, "skip": "first_conv"},
    {"norm": "instance", "film_position": "before_activation"},
    {"n_conditioned": 1, "norm": "batch"},
    {"spatial_dims": 2, "in_channels": 2},
]


def network_and_image(**options: Any) -> tuple[FiLMUNet, torch.Tensor]:
    torch.manual_seed(0)
    network = FiLMUNet(num_regions=K, channels=(4, 8, 16), **options).eval()
    dims = options.get("spatial_dims", 3)
    return network, torch.randn(2, options.get("in_channels", 1), *(9, 8, 10)[:dims])


@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_three_ways_to_ask_for_a_region_agree(options: dict[str, Any]) -> None:
    network, image = network_and_image(**options)
    all_regions = network(image)
    assert all_regions.shape == (2, K, *image.shape[2:])
    assert (all_regions[:, 0] - all_regions[:, 1]).abs().max() > 1e-3  # else the equalities below say nothing
    for k in range(K):
        code = torch.eye(K)[[k]]
        torch.testing.assert_close(network(image, code), all_regions[:, k : k + 1])
        torch.testing.assert_close(network(image, condition=code.repeat(2, 1)), all_regions[:, k : k + 1])


@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_regions_come_in_the_order_asked_for(options: dict[str, Any]) -> None:
    network, image = network_and_image(**options)
    all_regions = network(image)
    for asked in ([2, 0], [1, 2, 0], [0, 0]):
        torch.testing.assert_close(network(image, torch.eye(K)[asked]), all_regions[:, asked])


@torch.no_grad()
def test_each_image_of_a_batch_has_its_own_condition() -> None:
    network, image = network_and_image()
    all_regions = network(image)
    logits = network(image, condition=torch.eye(K)[[2, 1]])
    assert logits.shape == (2, 1, *image.shape[2:])
    torch.testing.assert_close(logits, torch.stack([all_regions[0, 2:3], all_regions[1, 1:2]]))


@torch.no_grad()
def test_images_of_a_batch_do_not_mix() -> None:
    network, image = network_and_image(n_conditioned=4)
    code = torch.eye(K)[[1, 0]]
    torch.testing.assert_close(network(image, code), torch.cat([network(image[:1], code), network(image[1:], code)]))


@torch.no_grad()
def test_a_code_of_integers_is_one_of_floats() -> None:
    network, image = network_and_image()
    code = torch.eye(K)[[2, 0]]
    assert torch.equal(network(image, code.long()), network(image, code))


@torch.no_grad()
def test_with_identity_all_regions_begin_alike_and_unmodulated() -> None:
    network, image = network_and_image(film_init="identity")
    all_regions = network(image)
    assert torch.equal(all_regions[:, 0], all_regions[:, 2])
    plain = network.backbone(image, [], [])  # as long as γ = β = 0
    torch.testing.assert_close(all_regions[:, :1], plain)


def test_with_identity_the_first_step_takes_regions_apart() -> None:
    network, image = network_and_image(film_init="identity")
    network(image, condition=torch.eye(K)[[0, 1]]).square().mean().backward()
    assert all(head.weight.grad.abs().max() > 0 for head in network.conditioner.heads)


def test_the_network_of_the_paper_has_1_563_394_parameters() -> None:
    assert sum(parameter.numel() for parameter in FiLMUNet(num_regions=5).parameters()) == 1_563_394


@pytest.mark.parametrize("n", range(1, 16))
def test_only_the_last_n_convolutions_have_a_head(n: int) -> None:
    network = FiLMUNet(num_regions=2, channels=(2, 3, 4, 5), n_conditioned=n)
    features = [2, 2, 3, 3, 4, 4, 5, 5, 4, 4, 3, 3, 2, 2, 1]
    assert [head.out_features for head in network.conditioner.heads] == [2 * c for c in features[-n:]]
    image = torch.randn(1, 1, 8, 8, 8)
    network(image).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())  # DDP waits for each of them


def test_all_convolutions_are_conditioned_by_default() -> None:
    assert len(FiLMUNet().conditioner.heads) == 15


@pytest.mark.parametrize("film_position", ["after_activation", "before_activation"])
@pytest.mark.parametrize("skip", ["last", "first_conv"])
@pytest.mark.parametrize("n", [1, 5, 8, 11])
@pytest.mark.parametrize("rows", [1, 3])
@torch.no_grad()
def test_what_precedes_the_first_film_is_computed_once(rows: int, n: int, skip: str, film_position: str) -> None:
    network, image = network_and_image(n_conditioned=n, skip=skip, film_position=film_position)
    batches: list[int] = []
    for convolution in (module for module in network.modules() if isinstance(module, nn.Conv3d)):
        convolution.register_forward_hook(lambda module, inputs, output: batches.append(inputs[0].shape[0]))
    network(image, torch.eye(K)[:rows])
    once = 11 - n + 1  # the first conditioned convolution itself precedes its FiLM
    assert batches == [2] * once + [2 * rows] * (n - 1)


@torch.no_grad()
def test_gamma_and_beta_are_computed_once_a_call() -> None:
    network, image = network_and_image()
    codes: list[torch.Tensor] = []
    network.conditioner.register_forward_hook(lambda module, inputs, output: codes.append(inputs[0]))
    asked = torch.eye(K)[[1, 0]]
    network(image, asked)
    assert len(codes) == 1
    assert torch.equal(codes[0], asked)  # R rows, not B * R


@torch.no_grad()
def test_gamma_and_beta_of_zero_give_a_plain_unet() -> None:
    network, image = network_and_image(norm="instance")
    for parameter in network.conditioner.heads.parameters():
        parameter.zero_()
    torch.testing.assert_close(network(image), network.backbone(image, [], []).expand(-1, K, -1, -1, -1))


@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_torchscript(options: dict[str, Any]) -> None:
    network, image = network_and_image(**options)
    scripted = torch.jit.script(network)
    code = torch.eye(K)[[2, 0]]
    torch.testing.assert_close(scripted(image), network(image))
    torch.testing.assert_close(scripted(image, code), network(image, code))
    torch.testing.assert_close(scripted(image, None, code), network(image, None, code))
    with pytest.raises(torch.jit.Error, match="not both"):
        scripted(image, code, code)


@torch.no_grad()
def test_export_takes_any_size() -> None:
    network, _ = network_and_image(norm="instance", film_position="before_activation")
    code = torch.eye(K)[[2, 0]]
    sizes = dict.fromkeys((2, 3, 4), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(network, (torch.randn(1, 1, 9, 10, 11), code), dynamic_shapes=(sizes, None))
    for size in [(9, 10, 11), (16, 12, 8), (13, 9, 10)]:
        image = torch.randn(1, 1, *size)
        torch.testing.assert_close(exported.module()(image, code), network(image, code))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("part", ["conditioner.heads.0.", "backbone.encoder.levels.0.0.", "conditioner."])
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
    ("inputs", "message"),
    [
        ({"regions": torch.zeros(2, K + 1)}, "regions must be"),
        ({"regions": torch.zeros(K)}, "regions must be"),
        ({"condition": torch.zeros(2, K - 1)}, "regions must be"),
        ({"condition": torch.zeros(3, K)}, "one row"),
        ({"regions": torch.eye(K)[:2], "condition": torch.eye(K)[:2]}, "not both"),
    ],
)
def test_wrong_codes(inputs: dict[str, torch.Tensor], message: str) -> None:
    network, image = network_and_image()
    with pytest.raises(RuntimeError, match=message):
        network(image, **inputs)


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
