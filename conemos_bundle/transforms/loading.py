"""Loading a scan, with errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.dicom import read_series
from monai.data import MetaTensor
from monai.transforms import LoadImaged


class LoadImageScand(LoadImaged):
    """MONAI's `LoadImaged`, channel first; a folder is a DICOM series, read by `read_series`.

    Hosts drop transforms whose name contains ``LoadImage`` when they bring the image themselves.
    """

    def __init__(self, keys: str = "image") -> None:
        super().__init__(keys=keys, image_only=True, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """
        Raises:
            UserError: a file is missing, truncated or no image, or a folder is not one regular DICOM series.
        """
        image = data[self.keys[0]]
        if isinstance(image, str | os.PathLike) and os.path.isdir(image):
            voxels, affine = read_series(image)
            meta = {"filename_or_obj": str(image), "original_affine": affine, "space": "RAS"}
            return {**data, self.keys[0]: MetaTensor(voxels[None], affine=torch.from_numpy(affine), meta=meta)}
        try:
            loaded: dict[Hashable, Any] = super().__call__(data, reader)
        except Exception as error:  # readers raise whatever they like
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise UserError(f"{data[self.keys[0]]}: cannot be read ({reason}); export the scan again") from error
        return loaded
