"""The windows of a scan: those of nothing but air never reach the network; a bar on a terminal counts all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from conemos_bundle.networks.interface import unwrapped
from torch import nn
from tqdm import tqdm

# The logit of what only windows of air cover: a probability of 2e-9, whose sum over a large scan is that of one voxel.
# Not a far larger number: where a window of air overlaps one that is not, the latter's logits shall decide, but for its
# edge, as they do where two windows of tissue overlap.
OUTSIDE = -20.0
SAME = 1e-6  # of intensities in [0, 1]


def count_windows(size: Sequence[int], window: Sequence[int], overlap: float) -> int:
    """How many windows MONAI's `SlidingWindowInferer` lays over a volume, padded to one window at least."""
    numbers = []
    for length, extent in zip(size, window, strict=True):
        step = max(1, int(extent * (1 - overlap)))
        numbers.append(1 + max(0, math.ceil((length - extent) / step)))
    return math.prod(numbers)


def skip_air(network: Callable[..., torch.Tensor], inputs: torch.Tensor, bar: tqdm[Any]) -> Callable[..., torch.Tensor]:
    """The network as `SlidingWindowInferer` calls it with ``with_coord``: windows of air get the logit `OUTSIDE`.

    Air is where each channel has one value, its smallest in the whole scan, to a millionth: nothing is guessed from a
    threshold. Instance norm divides by the deviation of a window, here 0: what the network says of air is noise.

    Args:
        network: called with a window ``(1, C, d, h, w)`` and the options, maybe with ``regions``; where it does not say
            how many it has (``num_regions``) and none are asked for, nothing is skipped.
        inputs: images ``(B, C, D, H, W)``.
        bar: counts the windows.
    """
    lowest = inputs.amin((2, 3, 4), keepdim=True)
    every = getattr(unwrapped(network), "num_regions", 0) if isinstance(network, nn.Module) else 0

    def logits(window: torch.Tensor, place: Sequence[Sequence[slice]], **options: Any) -> torch.Tensor:
        bar.update()
        regions, image = options.get("regions"), place[0][0]
        asked = every if regions is None else regions.shape[-1]
        if asked and bool(((window - lowest[image]).abs() <= SAME).all()):
            return window.new_full((1, asked, *window.shape[2:]), OUTSIDE)
        return network(window, **options)

    return logits
