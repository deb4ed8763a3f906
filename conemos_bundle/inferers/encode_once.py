"""A network that encodes each window of a scan once, however often regions are asked of it."""

from __future__ import annotations

import torch
from torch import nn

MOST_BYTES = 2 * 2**30


class EncodeOnce(nn.Module):
    """Keeps the features of the windows of a scan, as long as they fit; what does not is encoded each time.

    Call `forget` before another scan, and `begin` before its windows, which come in the same order each time.

    Args:
        network: a `RegionNetwork`; any other one is called as it is.
        most_bytes: of features that are kept.
    """

    def __init__(self, network: nn.Module, most_bytes: int = MOST_BYTES) -> None:
        super().__init__()
        self.network = network
        self.most_bytes = most_bytes
        self._features: list[list[torch.Tensor]] = []
        self._next = self._bytes = 0

    def forget(self) -> None:
        """Another scan comes."""
        self._features, self._next, self._bytes = [], 0, 0

    def begin(self) -> None:
        """The scan's first window comes."""
        self._next = 0

    def forward(self, image: torch.Tensor, regions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)`` of a window ``(B, C, D, H, W)``; regions as for `RegionNetwork`."""
        if not hasattr(self.network, "encode"):
            return self.network(image, regions)  # type: ignore[no-any-return]
        place, self._next = self._next, self._next + 1
        if place < len(self._features):
            features = self._features[place]
        else:
            features = self.network.encode(image)  # type: ignore[operator]
            size = sum(tensor.numel() * tensor.element_size() for tensor in features)
            if place == len(self._features) and self._bytes + size <= self.most_bytes:
                self._features.append(features)
                self._bytes += size
        return self.network.decode(features, regions)  # type: ignore[no-any-return, operator]
