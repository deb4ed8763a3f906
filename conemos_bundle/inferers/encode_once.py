"""A network that encodes each window of a scan once, however often regions are asked of it, in bounded memory."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import nn

# A window of 64³ voxels of the default network keeps 18 MB in float32, 9 MB in bfloat16; one of 96³ 60 and 32 MB.
# With 4 GB in all, a scan of 512 × 512 × 400 voxels and what is computed of it need the other 3.
MOST_BYTES = 2**30
# Of a window, times regions, decoded at once: 0.4 GB with the default network. On a CPU nothing is gained by more than
# one region of 48³ voxels, and larger tensors need fresh memory each time (64³, float32: 137 ms per region one at a
# time, 217 ms four at a time).
VOXELS_DECODED = 2**20
VOXELS_DECODED_ON_CPU = 2**17


class EncodeOnce(nn.Module):
    """Keeps the features of the windows of a scan, as long as they fit; what does not is encoded each time.

    Regions are decoded a few at a time: the memory of a window does not grow with how many are asked for. Call `forget`
    before another scan, and `begin` before the windows of it, or of a part of it, which come in the same order each
    time.

    Args:
        network: a `RegionNetwork`; another one, or a TorchScript, is called for a few regions at a time.
        most_bytes: of features that are kept.
        voxels_decoded: of a window, times regions, that are decoded at once, one region at least; None: by device.
    """

    def __init__(self, network: nn.Module, most_bytes: int = MOST_BYTES, voxels_decoded: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.most_bytes = most_bytes
        self.voxels_decoded = voxels_decoded
        self._features: dict[Hashable, list[list[torch.Tensor]]] = {}
        self._part: Hashable = None
        self._next = self._bytes = 0

    def forget(self) -> None:
        """Another scan comes."""
        self._features, self._part, self._next, self._bytes = {}, None, 0, 0

    def begin(self, part: Hashable = None) -> None:
        """The first window comes, of the scan, or of a part of it, by what that is known by."""
        self._part, self._next = part, 0

    def forward(self, image: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)`` of a window ``(B, C, D, H, W)``; regions as for `RegionNetwork`."""
        most = self.voxels_decoded or (VOXELS_DECODED_ON_CPU if image.device.type == "cpu" else VOXELS_DECODED)
        at_once = max(1, most // image[:, 0].numel())
        groups = self._groups(regions)
        parts = [places for group in groups for places in group.split(at_once)]
        asked = [regions if len(parts) == 1 else regions[..., places] for places in parts]
        # not every TorchScript has an encoder that can be called
        if isinstance(self.network, torch.jit.ScriptModule) or not hasattr(self.network, "encode"):
            logits = torch.cat([self.network(image, each) for each in asked], 1)
        else:
            old = getattr(self.network, "old", None)
            needed = old is None or bool((regions < old).any())
            features = self._encoded(image) if needed else [image]  # added regions go by the image alone
            logits = torch.cat([self.network.decode(features, each) for each in asked], 1)  # type: ignore[operator]
        return logits if len(groups) == 1 else logits[:, torch.cat(parts).argsort()]

    def _groups(self, regions: torch.Tensor) -> list[torch.Tensor]:
        """Places of regions that may be decoded together: those that were added to a network are not mixed with others.

        How many are decoded together changes the last bits, and what a network computed before it grew shall stay.
        """
        places = torch.arange(regions.shape[-1], device=regions.device)
        old = getattr(self.network, "old", None)
        if old is None or regions.dim() > 1:
            return [places]
        return [group for group in (places[regions < old], places[regions >= old]) if len(group)]

    def _encoded(self, image: torch.Tensor) -> list[torch.Tensor]:
        place, self._next = self._next, self._next + 1
        kept = self._features.setdefault(self._part, [])
        if place < len(kept):
            return kept[place]
        features: list[torch.Tensor] = self.network.encode(image)  # type: ignore[operator]
        size = sum(tensor.numel() * tensor.element_size() for tensor in features)
        if place == len(kept) and self._bytes + size <= self.most_bytes:
            kept.append(features)
            self._bytes += size
        return features
