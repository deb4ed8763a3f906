"""The data set of training: scans are prepared once and cached, a draw picks a region of one and augments it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conemos_bundle.data.sampling import Sample
from conemos_bundle.data.search_box import ScanBoxes, draw_box, scan_boxes
from conemos_bundle.errors import UsageError, UserError
from conemos_bundle.scales import planned_scales
from conemos_bundle.transforms.masks import expand_regions
from conemos_bundle.utils.known import IGNORED, to_target
from conemos_bundle.volumes.fingerprints import file_stamps
from monai.data import CacheDataset, Dataset, PersistentDataset, get_track_meta, set_track_meta
from monai.data.utils import json_hashing, pickle_hashing
from monai.transforms import Compose, RandomizableTrait

CACHES = ("memory", "disk", "none")
TARGETS = ("region", "annotated")
REGIONS_PER_SCAN = (1, "all")
TRIES = 10


def check_regions_per_scan(regions_per_scan: Any) -> None:
    """Refuse what is neither 1 nor ``"all"``; a step of a configuration too.

    Raises:
        UsageError: it is another value.
    """
    if not any(type(regions_per_scan) is type(each) and regions_per_scan == each for each in REGIONS_PER_SCAN):
        raise UsageError(
            f"--regions_per_scan {str(regions_per_scan)[:60]}: use 1, the region drawn, or all, those annotated"
        )


def ignore_crop_warnings() -> None:
    """An absent region has no voxel to crop around: MONAI crops anywhere then, as it should, and says so each time."""
    warnings.filterwarnings("ignore", r"Num foregrounds (0|\d+, Num backgrounds 0),")


ignore_crop_warnings()


def _hash_item(item: dict[str, Any]) -> bytes:
    """Hash an item with its files' sizes and times: a scan that changed is read anew."""
    return json_hashing({"item": item, "stamps": file_stamps(item)})


class _DiskCache(PersistentDataset):
    """MONAI's, and a file of it that cannot be read is made again."""

    def _cachecheck(self, item_transformed: dict[str, Any]) -> Any:
        file = Path(str(self.cache_dir), self.hash_func(item_transformed).decode() + self.transform_hash + ".pt")
        try:
            return super()._cachecheck(item_transformed)
        except Exception:  # torch.load raises whatever it likes on a broken file
            if not _is_damaged(file):
                raise  # the scan is, or the disk is full
            file.unlink(missing_ok=True)
            return super()._cachecheck(item_transformed)


def _is_damaged(file: Path) -> bool:
    try:
        torch.load(file, weights_only=True)
    except FileNotFoundError:
        return False
    except Exception:  # torch.load raises whatever it likes on a broken file
        return True
    return False


class RegionDataset(torch.utils.data.Dataset):
    """(scan, region) pairs, indexed by a `Sample`.

    The transforms before the first random one run once per scan and are cached; the rest run at each draw, seeded by
    it.
    They get ``image``, ``label``, whose voxels are 0, 1 or `IGNORED`, and two masks ``(1, D, H, W)`` to crop around:
    ``foreground``, the region drawn, and ``known``, the voxels whose answer is known (with scales, what
    `RandCropAtScaled` takes instead). A patch without any known voxel is drawn anew.

    Args:
        data: items as `scan_items` gives them.
        transform: one `Compose`; `LoadRegionMasksd` in it makes ``label`` ``(n, D, H, W)`` and ``annotated`` ``(n,)``.
        regions: names of the K regions, in channel order.
        target: ``"region"``: the label is the mask of the region drawn, ``(1, D, H, W)``, and ``regions`` its index
            ``(1,)``; ``unannotated`` ``(1,)`` is that of a region drawn from those unknown in the scan, -1 where there
            is none. ``"annotated"``: all K masks, ``(K, D, H, W)``, NaN in unknown ones. Both are NaN in ignored
            voxels.
        regions_per_scan: 1, or ``"all"``: with target ``"region"``, the label has the masks of all annotated regions
            of the patch, ``(M, D, H, W)``, and ``regions`` their indices ``(M,)``; M is the most that a scan has, and
            where there are fewer the rest is NaN and -1, and so is a region without any known voxel in the patch (but
            for the one drawn). The patch is the same.
        plan: of the network's input. Where it has ``scales``, the label has the annotated regions that are looked at as
            closely as the one drawn, and ``regions`` are the indices of regions at that scale, ``k + K * level``.
        cache: ``"memory"``, ``"disk"`` (in ``cache_dir``; survives the run) or ``"none"``, as command lines give None.
        cache_dir: folder of the disk cache.
        progress: show a progress bar while the memory cache fills; None: on a terminal.

    Raises:
        UserError: there is no scan, an option has no such value (`UsageError` of ``regions_per_scan``), or an annotated
            region that is not declared absent has no voxel (found at once with the memory cache, else at a draw).
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Compose,
        regions: Sequence[str],
        target: str = "region",
        cache: str | None = "memory",
        cache_dir: str | None = None,
        progress: bool | None = None,
        regions_per_scan: int | str = 1,
        plan: Mapping[str, Any] | None = None,
    ) -> None:
        if not data:
            raise UserError("the datalist has no training scan with an annotated region: nothing to train on")
        cache = "none" if cache is None else cache
        for name, value, allowed in (("cache", cache, CACHES), ("target", target, TARGETS)):
            if value not in allowed:
                raise UserError(f"{name} {value!r}: use one of {', '.join(allowed)}")
        check_regions_per_scan(regions_per_scan)
        self.data = list(data)
        self.regions = list(regions)
        self.target = target
        self.only_the_drawn = target == "region" and regions_per_scan == 1
        self.scales = planned_scales(plan or {}, self.regions)
        self.spacing = (plan or {}).get("spacing")
        self._boxes: dict[int, ScanBoxes] = {}  # of each scan that was drawn
        self.most_annotated = max(len(item["masks"].keys() & set(self.regions)) for item in self.data)
        first_random = transform.get_index_of_first(lambda t: isinstance(t, RandomizableTrait))
        first_random = len(transform) if first_random is None else first_random
        self.preparation = Compose(transform.transforms[:first_random])
        self.augmentation = Compose(transform.transforms[first_random:])
        if cache == "memory":
            # draws never change a scan in place, so the cached tensors are handed out as they are
            shown = sys.stderr.isatty() if progress is None else progress
            self.scans: Dataset = CacheDataset(self.data, self.preparation, progress=shown, copy_cache=False)
            for index in range(len(self.data)):  # now, not after hours
                scan = self.scans[index]
                for channel, k in enumerate(scan["annotated"]):
                    self._reject_empty(index, int(k), scan["label"][channel])
        elif cache == "disk":
            if not cache_dir:
                raise UserError("cache 'disk' needs --cache_dir, a folder to keep the prepared scans in")
            self.scans = _DiskCache(
                self.data, self.preparation, cache_dir, hash_func=_hash_item, hash_transform=pickle_hashing
            )
        else:
            self.scans = Dataset(self.data, self.preparation)

    @property
    def annotated(self) -> list[list[int]]:
        """For each scan, the indices of the regions that are annotated and there."""
        return self._indices(absent=False)

    @property
    def absent(self) -> list[list[int]]:
        """For each scan, the indices of the regions known to be absent."""
        return self._indices(absent=True)

    def _indices(self, absent: bool) -> list[list[int]]:
        regions = [(k, region) for k, region in enumerate(self.regions)]
        masks = [item["masks"] for item in self.data]
        return [[k for k, r in regions if r in its and its[r].get("absent", False) is absent] for its in masks]

    def __len__(self) -> int:
        return len(self.data)

    def _reject_empty(self, scan: int, region: int, mask: torch.Tensor) -> None:
        """Refuse a mask of 0, 1 and `IGNORED` without a voxel inside, or of an absent region without any known one."""
        absent = self.data[scan]["masks"][self.regions[region]].get("absent", False)
        if not bool((mask != IGNORED if absent else mask == 1).any()):
            raise UserError(
                f"{self.data[scan]['image']}: {self.regions[region]!r} is {'absent' if absent else 'annotated'} but "
                f"has no {'known ' if absent else ''}voxel at the spacing of training; leave it out of the datalist "
                "(or declare it 'absent') where its file is empty, else pass a finer --spacing"
            )

    def __getitem__(self, draw: Sample) -> dict[str, Any]:
        scan = self.scans[draw.scan]
        every = annotated = [int(k) for k in scan["annotated"]]
        label = torch.as_tensor(scan["label"])
        channel, level = annotated.index(draw.region), draw.level
        item: dict[str, Any] = {"image": torch.as_tensor(scan["image"])}
        if self.scales is None:
            drawn = label[channel : channel + 1]
            self._reject_empty(draw.scan, draw.region, drawn)
            known = drawn != IGNORED
            item |= {"foreground": (drawn == 1).to(drawn.dtype), "known": known.to(drawn.dtype)}
            tries = 1 if known.all() else TRIES
        else:
            tries, search = self._search(draw, label, annotated)
            item |= search
        learned = [
            i for i, k in enumerate(annotated) if i == channel or (not self.only_the_drawn and self._asked_at(k, level))
        ]
        if len(learned) < len(annotated):
            label, annotated, channel = label[learned], [annotated[i] for i in learned], learned.index(channel)
        item |= {"label": label, "channel": channel}
        for attempt in range(tries):
            patch = self._augment(item, (draw.seed + 7919 * attempt) % 2**31)
            image, label = patch["image"].float(), patch["label"]
            if bool((label[channel] != IGNORED).any()):
                break
        if self.target == "annotated":
            return {"image": image, "label": expand_regions(label, annotated, len(self.regions))}
        base = len(self.regions) * level
        unknown = [base + k for k in range(len(self.regions)) if k not in every and self._asked_at(k, level)]
        unannotated = torch.tensor([unknown[draw.seed % len(unknown)] if unknown else -1])
        codes = [base + k for k in annotated]
        if self.only_the_drawn:
            label, regions = to_target(label), torch.tensor(codes)
        else:
            label, regions = self._known(label, codes, channel)
        return {"image": image, "label": label, "regions": regions, "unannotated": unannotated}

    def _asked_at(self, region: int, level: int) -> bool:
        """Whether a region is asked for at this level."""
        return self.scales is None or level in self.scales.levels[region]

    def _search(self, draw: Sample, label: torch.Tensor, annotated: list[int]) -> tuple[int, dict[str, Any]]:
        """How often to try for a patch of the region drawn with a known voxel, and what `RandCropAtScaled` needs."""
        assert self.scales is not None and self.spacing is not None
        if draw.scan not in self._boxes:
            self._boxes[draw.scan] = scan_boxes(label, annotated)
        boxes, partly_known = self._boxes[draw.scan]
        if draw.region not in boxes:  # there, or declared absent
            self._reject_empty(draw.scan, draw.region, label[annotated.index(draw.region)])
        random = np.random.default_rng(draw.seed)
        box = draw_box(draw.region, draw.level, boxes, label.shape[1:], self.spacing, self.scales, random)
        scale = {"factor": self.scales.factors[draw.level], "patch_size": self.scales.patch_sizes[draw.level]}
        return TRIES if partly_known else 1, {**scale, "box": box, "region_box": boxes.get(draw.region)}

    def _known(self, masks: torch.Tensor, annotated: list[int], drawn: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Target ``(M, D, H, W)`` and indices ``(M,)`` of the regions with a known voxel, and of the channel drawn."""
        some = [i for i in range(len(annotated)) if i == drawn or bool((masks[i] != IGNORED).any())]
        target = torch.full((self.most_annotated, *masks.shape[1:]), torch.nan)
        target[: len(some)] = to_target(masks[some])
        return target, torch.tensor([annotated[i] for i in some] + [-1] * (self.most_annotated - len(some)))

    def _augment(self, item: dict[str, Any], seed: int) -> dict[str, Any]:
        self.augmentation.set_random_state(seed=seed)
        track_meta = get_track_meta()
        set_track_meta(False)  # patches are never mapped back to the scan, and plain tensors are augmented faster
        try:
            patch = self.augmentation(item)
        finally:
            set_track_meta(track_meta)
        return patch[0] if isinstance(patch, list) else patch  # MONAI's crops that draw several samples give a list
