from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conemos_bundle.networks.blocks import ConvBlock
from conemos_bundle.networks.upsampled_conv import upsampled_conv

SIZES = [(1, 1, 1), (1, 3, 2), (4, 5, 6), (7, 2, 9)]


def expected(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    up = x.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    return F.conv3d(up, weight, padding=1)


def volume_and_weight(size: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, *size, generator=generator, dtype=dtype)
    weight = torch.randn(3, 6, 3, 3, 3, generator=generator, dtype=dtype)
    return x.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_at_the_borders_too(size: tuple[int, ...]) -> None:
    x, weight = volume_and_weight(size)
    found, wanted = upsampled_conv(x, weight), expected(x, weight)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    direction = torch.randn_like(wanted)
    for one, other in zip(
        torch.autograd.grad(found, (x, weight), direction), torch.autograd.grad(wanted, (x, weight), direction),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_single_precision() -> None:
    x, weight = volume_and_weight((4, 5, 6), torch.float32)
    torch.testing.assert_close(upsampled_conv(x, weight), expected(x, weight), rtol=1e-5, atol=4e-5)


def test_bfloat16_is_as_exact_as_with_concatenation() -> None:
    """Weights are summed in float32 and rounded once."""
    x, weight = volume_and_weight((8, 8, 8), torch.float32)
    exact = expected(x, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, usual = upsampled_conv(x, weight), expected(x, weight)
    assert found.dtype == torch.bfloat16
    assert (found - exact).norm() <= 1.2 * (usual - exact).norm()


def test_scripted() -> None:
    x, weight = volume_and_weight((2, 3, 4))
    torch.testing.assert_close(torch.jit.script(upsampled_conv)(x, weight), upsampled_conv(x, weight))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [None, "instance"])
@pytest.mark.parametrize("regions", [1, 3])
def test_a_block_convolves_the_concatenation(bias: bool, norm: str | None, regions: int) -> None:
    torch.manual_seed(0)
    block = ConvBlock(2 + 6, 3, norm, bias, "after_activation", None).double()
    skip = torch.randn(2, 2, 4, 6, 8, dtype=torch.float64)
    x = torch.randn(2 * regions, 6, 2, 3, 4, dtype=torch.float64)
    up = F.interpolate(x, scale_factor=2.0, mode="nearest")
    joined = torch.cat([skip.repeat_interleave(regions, 0), up], 1)
    found = block.convolve_up(x, block.convolve_skip(skip))
    torch.testing.assert_close(found, block.convolve(joined), rtol=0, atol=1e-10)
