"""A network on its device."""

from __future__ import annotations

import pytest
import torch
from conemos_bundle.networks import UNet, on_device


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_network_itself_with_the_memory_layout_that_was_asked_for(channels_last: bool) -> None:
    network = UNet(num_regions=1, channels=(2, 4))
    placed = on_device(network, "cpu", channels_last)
    assert placed is network
    kernel = next(p for p in network.parameters() if p.dim() == 5 and p.shape[0] > 1 and p.shape[1] > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last_3d) is channels_last
    assert on_device(network, torch.device("meta")).arguments == network.arguments
    assert {p.device.type for p in network.parameters()} == {"meta"}
