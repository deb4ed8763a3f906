"""Checks of a scan's voxels, right behind the transform that loads it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from conemos_bundle.errors import UserError
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey


class CheckScand(MapTransform):
    """Refuse a scan that the network cannot segment; put it right behind ``LoadImaged(ensure_channel_first=True)``.

    The image is a `MetaTensor` ``(C, D, H, W)`` and stays as it is.

    Args:
        keys: the image.
        channels: number of channels that the network takes.
        allow_missing_keys: do not mind where the image is absent.
    """

    def __init__(self, keys: KeysCollection = "image", channels: int = 1, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            UserError: the image is not 3D, has another number of channels, holds NaN or infinity, or is constant.
        """
        checked = dict(data)
        for key in self.key_iterator(checked):
            problem = self._problem(checked[key])
            if problem:
                raise UserError(f"{file_name(checked, key)}: {problem}")
        return checked

    def _problem(self, image: torch.Tensor) -> str:
        size = " x ".join(str(length) for length in image.shape[1:])
        if image.ndim != 4 or 1 in image.shape[1:]:
            return f"not a 3D image ({size} voxels); give a 3D scan"
        if image.shape[0] != self.channels:
            return f"has {image.shape[0]} channels; give a scan with {self.channels}, as the network takes"
        if not torch.isfinite(image).all():
            return "holds NaN or infinite voxels; replace them, or export the scan again"
        lowest, highest = torch.aminmax(image.flatten(1), dim=1)
        if (lowest == highest).any():
            return "all voxels are equal; the image is empty, export the scan again"
        return ""


def file_name(data: Mapping[Hashable, Any], key: Hashable) -> str:
    """The file that an image or mask was loaded from, or else the scan's name."""
    image = data[key]
    meta = image.meta if isinstance(image, MetaTensor) else {}
    return str(meta.get(ImageMetaKey.FILENAME_OR_OBJ) or data.get("name") or key)
