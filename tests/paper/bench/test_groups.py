from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from conemos_bundle.networks.upsampled_conv import upsampled_conv
from conemos_bundle.paper.bench.groups import Group, measure, multiplications
from conemos_bundle.paper.bench.networks import OTHERS, concatenating_unet, plain_unet
from conemos_bundle.paper.bench.setup import Setup
from torch import nn


def test_multiplications_of_a_convolution_and_its_backward_pass() -> None:
    conv, image = nn.Conv3d(2, 5, 3, padding=1), torch.rand(4, 2, 6, 7, 8)
    forward = 4 * 6 * 7 * 8 * 27 * 2 * 5
    assert multiplications(lambda: conv(image)) == forward
    assert multiplications(lambda: conv(image).sum().backward()) == 2 * forward  # and the weight's gradient
    image.requires_grad_()
    assert multiplications(lambda: conv(image).sum().backward()) == 3 * forward  # and the image's
    linear = nn.Linear(3, 7)
    assert multiplications(lambda: linear(torch.rand(2, 3))) == 2 * 3 * 7


def test_a_transposed_convolution_counts_eight_products_per_voxel_of_its_output() -> None:
    weight = torch.rand(5, 2, 3, 3, 3, requires_grad=True)
    x = torch.rand(1, 2, 4, 4, 4, requires_grad=True)
    forward = 8**3 * 8 * 2 * 5
    assert multiplications(lambda: upsampled_conv(x, weight)) == forward
    assert multiplications(lambda: upsampled_conv(x, weight).sum().backward()) == 3 * forward


def test_multiplications_of_networks_counted_by_hand() -> None:
    setup, side = Setup(size=16, channels=(2, 3, 4)), 16
    image = torch.rand(1, 1, side, side, side)
    fine, middle, coarse = side**3, (side // 2) ** 3, (side // 4) ** 3
    encoder = 27 * (fine * (1 * 2 + 2 * 2) + middle * (2 * 3 + 3 * 3) + coarse * (3 * 4 + 4 * 4))
    decoder = 27 * (middle * (3 * 3 + 3 * 3) + fine * (2 * 2 + 2 * 2)) + fine * 2  # skips, second convolutions, 1×1×1
    up = middle * 4 * 3, fine * 3 * 2  # multiplications with weights of what is up-sampled, per product
    with torch.no_grad():
        for build, products in ((concatenating_unet, 27), (plain_unet, 8)):
            network = build(setup, 1)
            network.backbone.smallest = [1, 1, 1]  # type: ignore[union-attr, assignment]
            assert multiplications(lambda: network(image)) == encoder + decoder + products * sum(up)  # noqa: B023
        down = middle * 2 * 3 + coarse * 3 * 4, middle * 3 * 3 + coarse * 4 * 4
        monai = 27 * (fine * (1 * 2 + 2 * 2) + sum(down))
        monai += coarse * 8 * 4 * 3 + middle * 8 * 3 * 2  # transposed, of stride and kernel 2
        monai += 27 * (middle * (6 * 3 + 3 * 3) + fine * (4 * 2 + 2 * 2)) + fine * 2
        dynunet = OTHERS["MONAI DynUNet"](setup, 1)
        assert multiplications(lambda: dynunet(image)) == monai


def test_first_calls_are_not_counted_and_what_is_too_long_or_too_large_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, made = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def build(name: str, seconds: float) -> Callable[[], Callable[[], None]]:
        def call() -> None:
            made.append(name)
            clock[0] += seconds * made.count(name)

        return lambda: call

    def too_large() -> Callable[[], None]:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    variants = {"a": build("a", 1), "long": build("long", 11), "large": too_large, "b": build("b", 2)}
    result = measure(Group("step", "title", variants), rounds=2, most_seconds=10)
    assert "".join(made) == "a" + "long" + "b" + "ab" + "ba"
    assert result.values == {"a": [2, 3], "b": [4, 6]}
    assert result.left_out == {"long": "took 11 s at once, more than 10 s", "large": "does not fit into memory"}
    assert result.multiplications == {}
    peer = Group("step", "title", {"long": build("longer", 11)}, ("long",))
    assert measure(peer, rounds=1, most_seconds=10).values == {"long": [22]}


def test_other_errors_are_errors() -> None:
    def broken() -> Callable[[], None]:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        measure(Group("step", "title", {"a": broken}), 1, 1)
