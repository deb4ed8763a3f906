"""Spatial augmentation: affine and elastic deformation and the cut to the patch, in one interpolation.

MONAI's `Rand3DElasticd` smooths noise at full resolution, which takes several times as long (`conemos bench`
measures both). The authors draw a small random field and up-sample it instead, and so do we.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from conemos_bundle.utils.known import IGNORED
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.transforms.utils import create_rotate, create_scale, create_shear, create_translate


def deform(
    volume: torch.Tensor, size: Sequence[int], matrix: np.ndarray, displacement: torch.Tensor | None = None
) -> torch.Tensor:
    """Sample ``volume`` at ``matrix @ x + displacement(x)`` for each voxel x of a patch; zeros outside it.

    Args:
        volume: ``(C, D, H, W)`` float.
        size: patch size, three numbers of voxels.
        matrix: 4×4, in voxels, between coordinates whose origin is the center of the patch and of the volume.
        displacement: ``(3, d, h, w)`` voxels, of any resolution: up-sampled to the patch.

    Returns:
        ``(C, *size)``, trilinear.
    """
    half_in = np.array([max(n - 1, 1) / 2 for n in volume.shape[1:]])
    half_out = np.array([(n - 1) / 2 for n in size])
    theta = np.concatenate([matrix[:3, :3] * half_out / half_in[:, None], matrix[:3, 3:] / half_in[:, None]], axis=1)
    theta = theta[::-1][:, [2, 1, 0, 3]].copy()  # PyTorch orders coordinates x, y, z: last axis first
    grid = F.affine_grid(torch.from_numpy(theta).float()[None], [1, 1, *size], align_corners=True)
    if displacement is not None:
        scale = torch.from_numpy(1 / half_in).float().view(3, 1, 1, 1)
        field = F.interpolate((displacement * scale)[None], size=list(size), mode="trilinear", align_corners=True)
        grid = grid + field.flip(1).permute(0, 2, 3, 4, 1)
    return F.grid_sample(volume[None], grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0]


class RandDeformd(RandomizableTransform, MapTransform):
    """Random affine and elastic deformation of image and masks, cut to the patch (paper, section 4: augmentation).

    Without the deformation (``prob``) the center of the volume is cut out, padded with zeros where it is smaller.

    Masks are interpolated and thresholded at 0.5. A voxel of a mask with ignored voxels is inside where known inside
    has more than half of the weight, outside where known outside has, and ignored elsewhere: it gets an answer only
    where whatever the ignored voxels hold, the answer is the same. What lies beyond the scan is ignored there too.

    Args:
        keys: image first, then masks of 0, 1 and `IGNORED`, each ``(C, D, H, W)``.
        patch_size: size of the result in voxels, where the item itself has no ``patch_size``.
        prob: probability of the deformation.
        rotation: ± radians about each axis.
        scaling: each axis is scaled by 1 ± this.
        shearing: ± each of the six shears.
        translation: ± voxels along each axis.
        elastic_std: the standard deviation of the elastic field, in voxels, is drawn in [0, this].
        elastic_grid: the random field has a node every so many voxels.
    """

    def __init__(
        self,
        keys: KeysCollection,
        patch_size: Sequence[int],
        prob: float = 0.95,
        rotation: Sequence[float] = (0.0, 0.0, 0.0),
        scaling: float = 0.0,
        shearing: float = 0.0,
        translation: float = 0.0,
        elastic_std: float = 0.0,
        elastic_grid: float = 20.0,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.patch_size = [int(n) for n in patch_size]
        self.rotation = list(rotation)
        self.scaling = scaling
        self.shearing = shearing
        self.translation = translation
        self.elastic_std = elastic_std
        self.elastic_grid = elastic_grid
        self.matrix = np.eye(4)
        self.displacement: torch.Tensor | None = None

    def randomize(self, data: Any = None) -> None:
        """Draw the next deformation, for a patch of that size."""
        super().randomize(None)
        self.matrix, self.displacement = np.eye(4), None
        if not self._do_transform:
            return
        random = self.R
        factors = [
            create_translate(3, random.uniform(-self.translation, self.translation, 3).tolist()),
            create_rotate(3, [random.uniform(-r, r) for r in self.rotation]),
            create_shear(3, random.uniform(-self.shearing, self.shearing, 6).tolist()),
            create_scale(3, random.uniform(1 - self.scaling, 1 + self.scaling, 3).tolist()),
        ]
        self.matrix = np.linalg.multi_dot([np.asarray(factor) for factor in factors])
        if self.elastic_std > 0:
            nodes = [max(2, math.ceil(n / self.elastic_grid) + 1) for n in (self.patch_size if data is None else data)]
            field = random.normal(0, random.uniform(0, self.elastic_std), (3, *nodes))
            self.displacement = torch.from_numpy(field).float()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Deform image and masks alike."""
        item = dict(data)
        patch_size = [int(n) for n in item.get("patch_size", self.patch_size)]
        self.randomize(patch_size)
        image_key, *mask_keys = self.key_iterator(item)
        image = torch.as_tensor(item[image_key]).float()
        masks = [torch.as_tensor(item[key]).float() for key in mask_keys]
        stacked = torch.cat([image[:0], *masks])
        partly = (stacked == IGNORED).flatten(1).any(1)
        channels = torch.cat([image, (stacked == 1).float(), (stacked[partly] == 0).float()])
        # where volume and patch differ by an odd number, center on a voxel: half a voxel aside would blur
        odd = [(n - m) % 2 / 2 for n, m in zip(channels.shape[1:], patch_size, strict=True)]
        matrix = np.asarray(create_translate(3, odd)) @ self.matrix
        deformed = deform(channels, patch_size, matrix, self.displacement)
        item[image_key], inside, outside = deformed.split([len(image), len(stacked), int(partly.sum())])
        result = (inside > 0.5).float()
        result[partly] = torch.where(outside > 0.5, 0.0, torch.where(inside[partly] > 0.5, 1.0, float(IGNORED)))
        item.update(zip(mask_keys, result.split([len(mask) for mask in masks]), strict=True))
        return item
