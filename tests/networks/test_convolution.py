from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conemos_bundle.networks.convolution import conv3d
from torch.overrides import TorchFunctionMode


class Called(TorchFunctionMode):
    def __init__(self) -> None:
        self.names: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.names.append(getattr(function, "__name__", ""))
        return function(*args, **(kwargs or {}))


def volume_and_weights(batch: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return (
        torch.randn(batch, 5, 3, 4, 6, dtype=dtype),
        torch.randn(4, 5, 3, 3, 3, dtype=dtype),
        torch.randn(4, dtype=dtype),
    )


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_the_same_numbers(batch: int, dtype: torch.dtype, with_bias: bool, gradients: bool) -> None:
    x, weight, bias = volume_and_weights(batch, dtype)
    bias = bias if with_bias else None
    with torch.set_grad_enabled(gradients), Called() as called:
        found = conv3d(x, weight, bias)
    expected = F.conv3d(x, weight, bias, padding=1)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    asked = batch == 1 and dtype == torch.float32 and not gradients and torch.backends.mkldnn.is_available()
    assert ("mkldnn_convolution" in called.names) is asked


@torch.no_grad()
def test_autocast_and_scripting_go_the_usual_way() -> None:
    x, weight, bias = volume_and_weights(1, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv3d(x, weight, bias).dtype == torch.bfloat16
    scripted = torch.jit.script(conv3d)
    torch.testing.assert_close(scripted(x, weight, bias), conv3d(x, weight, bias), rtol=1e-5, atol=1e-4)
    assert "mkldnn" not in str(scripted.graph)
