from __future__ import annotations

import pytest
import torch
from conemos_bundle.training.precision import fast_bfloat16


@pytest.mark.parametrize(
    ("capability", "expected"), [("AVX512", True), ("AVX2", False), ("DEFAULT", False), ("SVE256", False)]
)
def test_a_cpu_needs_avx512(monkeypatch: pytest.MonkeyPatch, capability: str, expected: bool) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert fast_bfloat16("cpu") is expected
    assert fast_bfloat16(torch.device("cpu")) is expected


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_is_asked_for_its_own_bfloat16(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(including_emulation) or supported
    )
    assert fast_bfloat16("cuda:0") is supported
    assert asked == [False]


def test_other_devices_train_in_float32() -> None:
    assert fast_bfloat16("mps") is False
