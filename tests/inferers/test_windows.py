"""Windows of air never reach the network; a bar counts the windows on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys
from functools import partial
from typing import Any

import pytest
import torch
from conemos_bundle.inferers import infer, inference
from conemos_bundle.inferers.windows import OUTSIDE, count_windows
from torch import nn
from tqdm import tqdm

ASKED = torch.tensor([1, 0])
WINDOWS: dict[str, Any] = {"regions": ASKED, "mode": "window", "window": (8, 8, 8)}


class ScanBoxes(nn.Module):
    """Logits are the intensity plus the index of the region; remembers the windows that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor, regions: torch.Tensor | None = None) -> torch.Tensor:
        self.windows.append(x.clone())
        regions = torch.arange(2) if regions is None else regions
        return x[:, :1] + regions.view(1, -1, 1, 1, 1)


@pytest.fixture
def scan() -> torch.Tensor:
    """Tissue in the first 8 of 32 planes, air of 0.25 behind it."""
    image = torch.full((1, 1, 32, 8, 8), 0.25)
    image[:, :, :8] += torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    return image


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize(
    ("size", "window"),
    [((32, 8, 8), (8, 8, 8)), ((31, 9, 5), (8, 8, 8)), ((17, 16, 15), (7, 5, 16)), ((3, 4, 5), (8, 8, 8))],
)
def test_windows_are_counted_as_monai_lays_them(size: tuple[int, ...], window: tuple[int, ...], overlap: float) -> None:
    network = ScanBoxes()
    infer(torch.rand(2, 1, *size), network, ASKED, mode="window", window=window, overlap=overlap)
    assert len(network.windows) == 2 * count_windows(size, window, overlap)


def test_windows_of_air_are_not_given_to_the_network(scan: torch.Tensor) -> None:
    network = ScanBoxes()
    logits = infer(scan, network, **WINDOWS)
    assert len(network.windows) == 2 and count_windows((32, 8, 8), (8, 8, 8), 0.5) == 7
    assert all(window.max() > 0.3 for window in network.windows)
    assert logits.shape == (1, 2, 32, 8, 8)
    torch.testing.assert_close(
        logits[:, :, :8], scan[:, :, :8] + ASKED.view(1, 2, 1, 1, 1)
    )  # no window of air is there
    torch.testing.assert_close(logits[:, :, 12:], torch.full((1, 2, 20, 8, 8), OUTSIDE))
    assert bool((logits[:, :, 8:12] < 1.25).all())
    assert float(logits[:, :, 12:].sigmoid().double().mean()) * 512 * 512 * 400 < 1  # voxels: confidences do not mind


def test_air_is_the_smallest_value_alone(scan: torch.Tensor) -> None:
    for plane, value in ((30, 0.25 + 3e-6), (30, 0.9), (slice(16, None), 0.9)):  # nearly air, a voxel, saturation
        network, image = ScanBoxes(), scan.clone()
        image[:, :, plane, 4 if isinstance(plane, int) else slice(None), 4] = value
        infer(image, network, **WINDOWS)
        assert len(network.windows) > 2
    network, image = ScanBoxes(), scan.clone()
    image[:, :, 30, 4, 4] += 5e-7  # rounding
    infer(image, network, **WINDOWS)
    assert len(network.windows) == 2


def test_air_is_of_each_image_and_of_all_channels(scan: torch.Tensor) -> None:
    network = ScanBoxes()
    infer(torch.cat([scan, scan + 1]), network, **WINDOWS)
    assert len(network.windows) == 4
    network, second = ScanBoxes(), torch.zeros_like(scan)
    second[:, :, 31] = 1  # another modality has something in the last window
    infer(torch.cat([scan, second], 1), network, **WINDOWS)
    assert len(network.windows) == 3


def test_all_regions_are_asked_for_where_none_are_named(scan: torch.Tensor) -> None:
    network = ScanBoxes()
    infer(scan, network, mode="window", window=(8, 8, 8))
    assert len(network.windows) == 7  # nobody knows how many logits a window has
    network, asked = ScanBoxes(), ScanBoxes()
    network.num_regions = 2  # type: ignore[assignment]
    found = infer(scan, network, mode="window", window=(8, 8, 8))
    assert len(network.windows) == 2
    torch.testing.assert_close(found, infer(scan, asked, **{**WINDOWS, "regions": torch.arange(2)}), rtol=0, atol=0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_for_terminals(scan: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "tqdm", partial(tqdm, mininterval=0))  # else quick windows are not shown one by one
    for stream, progress, shown in (
        (Terminal(), "anterior", True), (Terminal(), None, False), (io.StringIO(), "anterior", False),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "stderr", stream)
        infer(scan, ScanBoxes(), progress=progress, **WINDOWS)
        told = stream.getvalue()
        assert bool(told) is shown
        if shown:
            assert "anterior" in told and "1/7" in told and "7/7" in told
            assert told.endswith("\r") and "\n" not in told  # nothing of it stays
    monkeypatch.setattr(sys, "stderr", Terminal())
    infer(scan[:, :, :8], ScanBoxes(), progress="anterior", **WINDOWS)
    assert sys.stderr.getvalue() == ""  # one window is no wait
