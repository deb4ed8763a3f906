"""Defaults that depend on the data or on the machine."""

from __future__ import annotations

import os

import pytest
import torch
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.networks.film import FiLM
from conemos_bundle.training import defaults
from conemos_bundle.utils.device import best_device


def test_cross_entropy_only_where_a_patch_may_miss_the_region() -> None:
    assert defaults.cross_entropy({"whole_scans": True}) == 0.0
    assert defaults.cross_entropy({"whole_scans": False}) == 1.0


@pytest.mark.parametrize(
    ("gpu", "cores", "expected"),
    [(False, 16, (64**3, 0, "cpu")), (True, 6, (96**3, 3, "cuda")), (True, 64, (96**3, 8, "cuda"))],
)
def test_of_the_machine(monkeypatch: pytest.MonkeyPatch, gpu: bool, cores: int, expected: tuple[int, int, str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert (defaults.most_voxels(), defaults.num_workers(), best_device().type) == expected


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_the_decoders_convolutions_alone_are_conditioned(levels: int) -> None:
    """One encoding serves all regions, and no convolution after the encoder is without FiLM."""
    channels = [2, 3, 4, 5][:levels]
    network = FiLMUNet(num_regions=2, channels=channels, n_conditioned=defaults.decoder_convolutions(channels))
    conditioned = {name.split(".")[1] for name, module in network.named_modules() if isinstance(module, FiLM)}
    assert conditioned == ({"decoder", "final_film"} if levels > 1 else {"final_film"})
    plain = [name for name, module in network.named_modules() if isinstance(module, torch.nn.Conv3d)]
    convolutions = [name for name in plain if "encoder" not in name]
    assert len(convolutions) == defaults.decoder_convolutions(channels)


@pytest.mark.parametrize(("device", "expected"), [("cpu", False), ("cuda:1", True), (torch.device("cuda"), True)])
def test_batches_are_pinned_for_a_gpu_alone(device: str | torch.device, expected: bool) -> None:
    assert defaults.pin_memory(device) is expected
