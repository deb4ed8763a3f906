"""Patches of a region at its own voxel spacing, from where it is looked for."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from conemos_bundle.scales import Factor
from conemos_bundle.utils.known import IGNORED
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable


def pool(volume: torch.Tensor, factor: Factor) -> torch.Tensor:
    """The means of blocks of ``factor`` voxels; the border goes on where the last block is not whole.

    Args:
        volume: ``(C, D, H, W)`` float.
        factor: voxels per axis.
    """
    if all(side == 1 for side in factor):
        return volume
    missing = [-length % side for length, side in zip(volume.shape[1:], factor, strict=True)]
    if any(missing):
        padding = [part for length in reversed(missing) for part in (0, length)]
        volume = F.pad(volume[None], padding, mode="replicate")[0]
    return F.avg_pool3d(volume[None], list(factor))[0]


def pool_masks(masks: torch.Tensor, factor: Factor) -> torch.Tensor:
    """Masks of 0, 1 and `IGNORED` on coarser voxels; what is thin stays.

    A voxel is inside where more than half of its block is. Where that leaves less than the volume of the region, so are
    the fullest of the others, as far as its volume is met: a sheet half a voxel thick would else be gone. It is ignored
    where neither known inside nor known outside has half of the block.

    Args:
        masks: ``(n, D, H, W)``.
        factor: voxels per axis.

    Returns:
        ``(n, d, h, w)`` float32.
    """
    if all(side == 1 for side in factor):
        return masks.float()
    inside = pool((masks == 1).float(), factor)
    ignored = pool((masks == IGNORED).float(), factor) if bool((masks == IGNORED).any()) else None
    pooled = torch.zeros_like(inside)
    for channel, part in enumerate(inside):
        if ignored is not None:
            pooled[channel][1 - part - ignored[channel] < 0.5] = float(IGNORED)
        pooled[channel][_fullest(part)] = 1.0
    return pooled


def _fullest(part: torch.Tensor) -> torch.Tensor:
    """The voxels more than half full, and as many of the next ones as meet the volume; equally full ones together."""
    wanted = round(float(part.sum()))
    inside = part > 0.5
    if int(inside.sum()) >= wanted:
        return inside
    least = min(0.5, float(part.flatten().topk(wanted).values[-1]))
    fewer, more = part > least, part >= least
    a, b = int(fewer.sum()), int(more.sum())
    return more if a < wanted / 4 or b - wanted < wanted - a else fewer


class RandCropAtScaled(Randomizable, MapTransform):
    """Crop image and masks to a patch and a margin, in voxels of a coarser grid, and bring them onto that grid.

    Beside its keys, an item has ``factor``, the voxels per axis of that grid's voxels; ``patch_size``, on that grid;
    ``box``, 2×3, first and end voxel of where the region is looked for; ``region_box``, those of the region itself,
    None where it is absent; and ``channel``, the region's among the masks. The patch is centered on a voxel of the
    region, or it lies in the box (holds all of it, where it is smaller), or, for what is asked for in the wrong place,
    anywhere in the scan.

    Args:
        keys: image first, then masks of 0, 1 and `IGNORED`.
        margin: the crop's sides, times the patch's, for what a deformation takes from beyond it.
        pos: weight of patches around a voxel of the region.
        neg: weight of the others.
        elsewhere: which part of the others lies anywhere.
    """

    def __init__(
        self, keys: KeysCollection, margin: float = 1.25, pos: float = 1, neg: float = 2, elsewhere: float = 0.1
    ) -> None:
        MapTransform.__init__(self, keys)
        self.margin, self.pos, self.neg, self.elsewhere = margin, pos, neg, elsewhere
        self.center = np.zeros(3)

    def randomize(self, data: Mapping[Hashable, Any]) -> None:
        """Draw the center of the patch, in voxels of the scan."""
        shape = np.array(data[self.keys[0]].shape[1:])
        length = np.asarray(data["patch_size"]) * np.asarray(data["factor"])
        around = self.R.random() < self.pos / (self.pos + self.neg)
        anywhere = self.R.random() < self.elsewhere
        if around and data["region_box"] is not None:
            first, end = np.asarray(data["region_box"]).astype(int)
            part = tuple(slice(a, b) for a, b in zip(first, end, strict=True))
            voxels = (data[self.keys[1]][data["channel"]][part] == 1).nonzero()
            self.center = voxels[self.R.randint(len(voxels))].numpy() + first + 0.5
            return
        first, end = (np.zeros(3), shape) if anywhere else np.asarray(data["box"], float)
        free = (end - first - length) / 2  # the center may be so far from the box's
        self.center = (first + end) / 2 + self.R.uniform(-1, 1, 3) * np.abs(free)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut and pool."""
        item = dict(data)
        self.randomize(item)
        factor: Factor = item["factor"]
        shape = np.array(item[self.keys[0]].shape[1:])
        size = np.minimum((self.margin * np.asarray(item["patch_size"])).astype(int) * np.array(factor), shape)
        start = np.clip(np.round(self.center - size / 2).astype(int), 0, shape - size)
        places = (slice(None), *(slice(int(a), int(a + n)) for a, n in zip(start, size, strict=True)))
        image_key, *mask_keys = self.key_iterator(item)
        item[image_key] = pool(torch.as_tensor(item[image_key][places]).float(), factor)
        for key in mask_keys:
            item[key] = pool_masks(torch.as_tensor(item[key][places]), factor)
        return item
