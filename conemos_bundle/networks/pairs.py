"""Decoding (image, region) pairs, as many regions of each image as are annotated in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.utils.checkpoint import checkpoint

VOXELS_AT_ONCE = 8 * 96**3  # about 9 GB of activations of the default FiLMUNet in float32


def decode_pairs(
    decode: Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor],
    features: Sequence[torch.Tensor],
    images: torch.Tensor,
    regions: torch.Tensor,
    voxels_at_once: int = VOXELS_AT_ONCE,
) -> torch.Tensor:
    """Logits of pairs whose images were encoded once.

    All pairs are decoded in one call where they have no more than ``voxels_at_once`` voxels together. Otherwise in
    chunks (of one pair at least), whose activations are thrown away and computed again in the backward pass, which
    costs another decoding. So the memory of a decoding is bounded to that of one chunk; features of the images (once
    each) and logits of all pairs stay. Batch norm would see each chunk by itself, and twice.

    Args:
        decode: a `RegionNetwork`'s.
        features: what its ``encode`` gave for B images.
        images: ``(P,)``, for each pair the index of its image.
        regions: ``(P, R)``, the indices of regions asked in each pair.
        voxels_at_once: of the images of all pairs in a chunk.

    Returns:
        ``(P, R, D, H, W)``.
    """
    of_each_image = [tensor.unbind() for tensor in features]

    def chunk(places: list[int], asked: torch.Tensor) -> torch.Tensor:
        # not index_select, whose gradient is summed in another order each time on a GPU
        return decode([torch.stack([tensors[i] for i in places]) for tensors in of_each_image], asked)

    at_once = max(1, voxels_at_once // features[0][0, 0].numel())
    if len(images) <= at_once:
        return chunk(images.tolist(), regions)
    parts = zip(images.split(at_once), regions.split(at_once), strict=True)
    return torch.cat(
        [checkpoint(chunk, i.tolist(), asked, use_reentrant=False, preserve_rng_state=False) for i, asked in parts]
    )
