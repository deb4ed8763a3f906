"""Masks of the annotated regions of a scan."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.transforms.resample import OrientToRASd, ResampleToSpacingd
from conemos_bundle.utils.known import IGNORED, to_target
from conemos_bundle.volumes import read_volume
from conemos_bundle.volumes.geometry import same_affine
from conemos_bundle.volumes.seg_nrrd import find_segment, is_seg_nrrd, pad_to_grid
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, Transform


def expand_regions(masks: torch.Tensor, annotated: Sequence[int], num_regions: int) -> torch.Tensor:
    """Masks ``(n, D, H, W)`` of annotated regions to a target ``(K, D, H, W)`` float32.

    It is NaN in the K - n channels of unknown regions, and in voxels that are `IGNORED`.
    """
    expanded = torch.full((num_regions, *masks.shape[1:]), torch.nan)
    if len(annotated):
        expanded[list(annotated)] = to_target(masks)
    return expanded


def region_mask(volume: torch.Tensor, source: Mapping[str, Any], known: torch.Tensor | None = None) -> torch.Tensor:
    """The mask ``(D, H, W)`` uint8 of one region: 0 outside, 1 inside, `IGNORED`.

    Args:
        volume: the loaded file, ``(C, D, H, W)``.
        source: the fields of a `MaskSource`: ``values`` of a label map, or ``channel`` of a 4D file, or ``segment`` of
            a ``.seg.nrrd``, or none of them: a binary file. Its values of ``ignore`` are `IGNORED`.
        known: the loaded file ``known``, ``(1, D, H, W)``: `IGNORED` where it is 0.

    Raises:
        UserError: the channel or segment does not exist, a binary mask is not binary, or a region that is declared
            absent is there.
    """
    file, channel, values = source["file"], source.get("channel"), source.get("values")
    if source.get("segment") is not None:
        _, channel, value = find_segment(file, source["segment"])
        values = [value]
    if channel is not None:
        if channel >= volume.shape[0]:
            raise UserError(f"{file}: has {volume.shape[0]} channels, the datalist asks for {channel}")
        volume = volume[channel]
    elif volume.shape[0] != 1:
        part = "'segment'" if is_seg_nrrd(file) else "'channel'"
        raise UserError(f"{file}: has {volume.shape[0]} channels; say in the datalist which {part} is the region")
    else:
        volume = volume[0]
    ignored = _is_one_of(volume, source.get("ignore") or [])
    if values is None:
        # NaN equals nothing: a mask with NaN is refused here too
        if not bool(((volume == 0) | (volume == 1) | ignored).all()):
            part = "'segment'" if is_seg_nrrd(file) else "'values'"
            raise UserError(f"{file}: not binary (0 and 1); for a label map, name the region's {part} in the datalist")
        values = [1]
    if known is not None:
        if known.shape[1:] != volume.shape:
            raise UserError(f"{source['known']}: shape {tuple(known.shape[1:])} is not that of {file}")
        if known.shape[0] != 1 or not bool(((known == 0) | (known == 1)).all()):
            raise UserError(f"{source['known']}: not one binary volume (1 where the answer is known, else 0)")
        ignored = ignored | (known[0] == 0)
    mask = _is_one_of(volume, values).to(torch.uint8).masked_fill(ignored, IGNORED)
    if source.get("absent") and bool((mask == 1).any()):
        inside = int((mask == 1).sum())
        raise UserError(f"{file}: {inside} voxels lie in a region that the datalist declares absent; take 'absent' out")
    return mask


def _is_one_of(volume: torch.Tensor, values: Sequence[int]) -> torch.Tensor:
    array = volume.numpy()
    if array.dtype.kind in "iu":  # a value that the type cannot hold is nowhere
        limits = np.iinfo(array.dtype)
        values = [value for value in values if limits.min <= value <= limits.max]
    return torch.from_numpy(np.isin(array, np.array(values, array.dtype)))


def read_mask_file(file: str) -> tuple[torch.Tensor, npt.NDArray[Any]]:
    """A mask's, label map's or ``.seg.nrrd`` file's voxels ``(C, D, H, W)``, and its affine to mm in RAS.

    Raises:
        UserError: the file cannot be read, or holds what is no whole number.
    """
    volume = read_volume(file, labels=True)
    return as_tensor(volume.voxels, file), volume.affine


def as_tensor(labels: npt.NDArray[Any], file: str) -> torch.Tensor:
    """Whole numbers as a tensor of a signed type that holds them, or of uint8: torch has few operations on others.

    Raises:
        UserError: a value is above the largest one of int64.
    """
    if labels.dtype.kind == "u" and labels.dtype.itemsize > 1:
        if labels.dtype.itemsize == 8 and labels.max(initial=0) > np.iinfo(np.int64).max:
            raise UserError(f"{file}: label {labels.max()} is too large; number the labels anew")
        labels = labels.astype({2: np.int32, 4: np.int64, 8: np.int64}[labels.dtype.itemsize])
    return torch.from_numpy(labels)


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


def read_on_grid(file: str, shape: Sequence[int], affine: npt.NDArray[Any]) -> torch.Tensor:
    """The voxels ``(C, D, H, W)`` of a mask on its image's grid; a ``.seg.nrrd`` that covers a part of it is padded.

    Args:
        file: the mask, label map or ``.seg.nrrd``.
        shape: of the image, ``(D, H, W)``.
        affine: of the image, voxel to mm in RAS.

    Raises:
        UserError: the file cannot be read, or its grid is another one.
    """
    volume, its_affine = read_mask_file(file)
    if is_seg_nrrd(file):
        return torch.from_numpy(pad_to_grid(volume.numpy(), its_affine, shape, affine, file))
    if tuple(volume.shape[1:]) != tuple(shape):
        raise UserError(f"{file}: shape {tuple(volume.shape[1:])} is not its image's, {tuple(shape)}")
    if not same_affine(its_affine, affine):
        raise UserError(f"{file}: its affine is not its image's: resample the mask on the image's grid")
    return volume


class LoadRegionMasksd(Transform):
    """Load the masks of a scan's annotated and absent regions.

    Reads ``masks`` (as in `scan_items`) and ``image`` (already loaded, channel first); puts in their place ``label``, a
    `MetaTensor` ``(n, D, H, W)`` uint8 on the image's grid (0 outside, 1 inside, `IGNORED`; 0 everywhere where a region
    is absent), and ``annotated``, the n region indices. Each file is read once.

    Args:
        regions: names of the K regions, in channel order. Masks of other regions are left unread.

    Raises:
        UserError: a file cannot be read, its shape or affine is not its image's, or a region is empty that nobody
            declares absent.
    """

    def __init__(self, regions: Sequence[str]) -> None:
        self.regions = list(regions)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load the masks of one scan."""
        item = dict(data)
        image: MetaTensor = item["image"]
        shape = tuple(image.shape[1:])
        volumes: dict[str, torch.Tensor] = {}
        masks: list[torch.Tensor] = []
        annotated: list[int] = []
        for k, region in enumerate(self.regions):
            source = item["masks"].get(region)
            if source is None:
                continue
            for file in (source[key] for key in ("file", "known") if key in source):
                if file not in volumes:
                    volumes[file] = read_on_grid(file, shape, np.asarray(image.affine, float))
            if "file" in source:
                known = volumes[source["known"]] if "known" in source else None
                masks.append(region_mask(volumes[source["file"]], source, known))
                if not source.get("absent") and not bool(masks[-1].any()):
                    raise UserError(
                        f"{source['file']}: annotated region {region!r} is empty; leave it out of the datalist where "
                        "nobody looked, or declare it absent ('conemos check --empty absent' does, for all empty masks)"
                    )
            else:
                masks.append(torch.zeros(shape, dtype=torch.uint8))
            annotated.append(k)
        del item["masks"]  # paths are of no use to a batch
        label = torch.stack(masks) if masks else torch.zeros((0, *shape), dtype=torch.uint8)
        item["label"] = MetaTensor(label, affine=image.affine.clone(), meta={"filename_or_obj": ""})
        item["annotated"] = torch.tensor(annotated, dtype=torch.int64)
        return item


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
