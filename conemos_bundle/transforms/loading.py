"""Loading a scan, with errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.volumes import read_volume
from conemos_bundle.volumes.fingerprints import file_contents, file_stamps
from monai.data import MetaTensor
from monai.transforms import MapTransform


class LoadImageScand(MapTransform):
    """Load a scan by `read_volume`: a `MetaTensor` ``(C, D, H, W)`` float32, its affine in RAS.

    The item's path is a file, a DICOM folder, or a list of files, one per channel. A NIfTI scan's header is kept in
    ``meta["nifti_header"]`` (uint8, 348), for its results; ``meta["contents"]`` has its files and their hashes.

    Hosts drop transforms whose name contains ``LoadImage`` when they bring the image themselves.
    """

    def __init__(self, keys: str = "image") -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            UserError: a file is missing, damaged or no image, it changed meanwhile, or a folder is not one regular
                DICOM series.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            path = item[key]
            files = [os.path.abspath(each) for each in (path if isinstance(path, list | tuple) else [path])]
            stamps = file_stamps(files)
            volume = read_volume(path)
            contents = file_contents(files)
            if file_stamps(files) != stamps:
                raise UserError(f"{files[0]}: changed while it was read; start again")
            first = path[0] if isinstance(path, list | tuple) else path
            meta: dict[str, Any] = {"filename_or_obj": str(first), "space": "RAS", "contents": "\n".join(contents)}
            if isinstance(path, list | tuple):
                meta["channel_files"] = "\n".join(map(str, path))
            if volume.nifti_header is not None:
                meta["nifti_header"] = np.frombuffer(volume.nifti_header, np.uint8).copy()
            affine = torch.from_numpy(volume.affine)
            item[key] = MetaTensor(torch.from_numpy(volume.voxels), affine=affine, meta=meta)
            item[key].meta["original_affine"] = volume.affine.copy()
        return item
