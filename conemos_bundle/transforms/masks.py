"""Masks of the annotated regions of a scan."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.transforms.resample import OrientToRASd, ResampleToSpacingd
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImage, MapTransform, Transform


def expand_regions(masks: torch.Tensor, annotated: Sequence[int], num_regions: int) -> torch.Tensor:
    """Masks ``(n, D, H, W)`` of annotated regions to ``(K, D, H, W)`` float32, NaN in the K - n unknown channels."""
    expanded = torch.full((num_regions, *masks.shape[1:]), torch.nan)
    if len(annotated):
        expanded[list(annotated)] = torch.as_tensor(masks).float()
    return expanded


def region_mask(volume: torch.Tensor, source: Mapping[str, Any]) -> torch.Tensor:
    """The binary mask ``(D, H, W)`` uint8 of one region.

    Args:
        volume: the loaded file, ``(C, D, H, W)``.
        source: ``values`` of a label map, or ``channel`` of a 4D file, or neither: a binary file.

    Raises:
        UserError: the channel does not exist, or a binary mask is not binary.
    """
    if source.get("channel") is not None:
        if source["channel"] >= volume.shape[0]:
            raise UserError(
                f"{source['file']}: has {volume.shape[0]} channels, the datalist asks for {source['channel']}"
            )
        volume = volume[source["channel"]]
    elif volume.shape[0] != 1:
        raise UserError(
            f"{source['file']}: has {volume.shape[0]} channels; say in the datalist which 'channel' is the region"
        )
    else:
        volume = volume[0]
    if source.get("values") is not None:
        return torch.isin(volume, torch.tensor(source["values"], dtype=volume.dtype)).to(torch.uint8)
    # NaN equals nothing: a mask with NaN is refused here too
    if not bool(((volume == 0) | (volume == 1)).all()):
        raise UserError(
            f"{source['file']}: not binary (0 and 1); for a label map, name the region's 'values' in the datalist"
        )
    return volume.to(torch.uint8)


def vanishes(mask: npt.NDArray[Any] | torch.Tensor, affine: npt.NDArray[Any], spacing: Sequence[float]) -> bool:
    """Whether nothing of a mask is left once it is resampled as for training.

    A predicted mask of a few voxels is no annotation then; `RegionDataset` refuses an annotated one.

    Args:
        mask: ``(D, H, W)``.
        affine: of its voxels to mm in RAS.
        spacing: of training, three numbers in mm.
    """
    resample = Compose([OrientToRASd("mask"), ResampleToSpacingd("mask", spacing, mode="nearest")])
    volume = MetaTensor(torch.as_tensor(mask)[None].float(), affine=torch.as_tensor(affine))
    return not bool(resample({"mask": volume})["mask"].any())


class LoadRegionMasksd(Transform):
    """Load the masks of a scan's annotated regions.

    Reads ``masks`` (as in `scan_items`) and ``image`` (already loaded, channel first); puts in their place ``label``, a
    `MetaTensor` ``(n, D, H, W)`` uint8 on the image's grid, and ``annotated``, the n region indices. Each file is read
    once.

    Args:
        regions: names of the K regions, in channel order. Masks of other regions are left unread.

    Raises:
        UserError: a file cannot be read, or its shape or affine is not its image's.
    """

    def __init__(self, regions: Sequence[str]) -> None:
        self.regions = list(regions)
        self.load = LoadImage(image_only=True, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load the masks of one scan."""
        item = dict(data)
        image: MetaTensor = item["image"]
        volumes: dict[str, torch.Tensor] = {}
        masks: list[torch.Tensor] = []
        annotated: list[int] = []
        for k, region in enumerate(self.regions):
            source = item["masks"].get(region)
            if source is None:
                continue
            file = source["file"]
            if file not in volumes:
                volumes[file] = self._read(file, image)
            masks.append(region_mask(volumes[file], source))
            annotated.append(k)
        del item["masks"]  # paths are of no use to a batch
        shape = tuple(image.shape[1:])
        label = torch.stack(masks) if masks else torch.zeros((0, *shape), dtype=torch.uint8)
        item["label"] = MetaTensor(label, affine=image.affine.clone(), meta={"filename_or_obj": ""})
        item["annotated"] = torch.tensor(annotated, dtype=torch.int64)
        return item

    def _read(self, file: str, image: MetaTensor) -> torch.Tensor:
        try:
            volume = self.load(file)
        except Exception as error:  # readers raise whatever they like
            raise UserError(f"{file}: cannot read this mask ({str(error).splitlines()[0][:120]})") from error
        if volume.shape[1:] != image.shape[1:]:
            raise UserError(f"{file}: shape {tuple(volume.shape[1:])} is not its image's, {tuple(image.shape[1:])}")
        if not torch.allclose(volume.affine, image.affine, atol=1e-3):
            raise UserError(f"{file}: its affine is not its image's: resample the mask on the image's grid")
        return volume.as_tensor()


class ExpandRegionsd(MapTransform):
    """``label`` ``(n, D, H, W)`` with ``annotated`` ``(n,)`` to ``(K, D, H, W)``, NaN in unknown channels."""

    def __init__(self, keys: KeysCollection, num_regions: int) -> None:
        super().__init__(keys)
        self.num_regions = num_regions

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Expand the masks of one scan."""
        item = dict(data)
        for key in self.key_iterator(item):
            label = item[key]
            expanded = expand_regions(label, [int(k) for k in item["annotated"]], self.num_regions)
            item[key] = MetaTensor(expanded, meta=label.meta) if isinstance(label, MetaTensor) else expanded
        return item
