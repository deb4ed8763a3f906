"""What is wrong with the masks of one scan."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from conemos_bundle.data.check_files import Volume, file_problem, image_files, read_file, same_grid
from conemos_bundle.data.datalist import SPLITS, Datalist, MaskSource, Scan
from conemos_bundle.errors import UserError
from conemos_bundle.transforms.masks import as_tensor, read_on_grid, region_mask
from conemos_bundle.utils.known import IGNORED
from conemos_bundle.volumes.seg_nrrd import is_seg_nrrd

MOST_RANGES = 8  # of label values in a line


class Values(NamedTuple):
    """The values of label maps, of all scans."""

    of_regions: list[int]
    to_ignore: dict[int, tuple[Path, bool]]  # the first file that shall hold one, and whether it occurs anywhere
    of_none: dict[int, list[Path]]  # the label maps in which one occurs that is neither a region's nor ignored


def values_of(datalist: Datalist) -> Values:
    """The values of all its regions; no file is read."""
    scans = [scan for split in SPLITS for scan in datalist.scans(split)]
    wanted = {value for scan in scans for region in scan.masks for value in scan.source(region).values or []}
    return Values(sorted({0, *wanted}), {}, {})


def check_masks(scan: Scan, root: Path, image: Volume | None, lines: list[str], seen: Values) -> dict[str, np.ndarray]:
    """The mask (X, Y, Z) of each annotated or absent region that is in order: 0, 1 and `IGNORED`.

    ``seen`` gets the values to ignore, and those that belong to no region.
    """
    volumes: dict[str, Volume | None] = {}
    masks: dict[str, np.ndarray] = {}
    for region in scan.masks:
        source = scan.source(region)
        if source.file is None:
            if image is not None:
                masks[region] = np.zeros(image.voxels.shape[1:], np.uint8)
            continue
        files = [source.file] if source.known is None else [source.file, source.known]
        for file in files:
            if file not in volumes:  # one label map holds many regions
                volumes[file] = _read_mask(root / file, scan, root, image, lines)
        if any(volumes[file] is None for file in files):
            continue
        volume, known = volumes[source.file], volumes[source.known] if source.known is not None else None
        try:
            masks[region] = _region_mask(volume, source, root, known)  # type: ignore[arg-type]
        except UserError as error:
            lines.append(f"error: {error}")
            continue
        if (masks[region] == IGNORED).all():
            lines.append(f"error: {root / files[-1]}: no voxel of {region!r} is known; leave it out of 'masks'")
            del masks[region]
        for value in source.ignore or []:
            first, occurs = seen.to_ignore.get(value, (root / source.file, False))
            occurs = occurs or bool((volume.voxels[source.channel or 0] == value).any())  # type: ignore[union-attr]
            seen.to_ignore[value] = first, occurs
    for file, volume in volumes.items():
        sources = [source for source in map(scan.source, scan.masks) if source.file == file and source.values]
        if sources and volume is not None:
            ignored = {value for source in sources for value in source.ignore or []}
            for value in _others(volume.voxels, [*seen.of_regions, *ignored]):
                seen.of_none.setdefault(value, []).append(root / file)
    return {} if image is None else masks  # without the image nothing says that two masks share a grid


def _others(voxels: np.ndarray, values: list[int]) -> list[int]:
    """The values of a label map that are not among these."""
    if voxels.dtype.kind in "iu":  # a value that the type cannot hold is nowhere, and would make `isin` slow
        limits = np.iinfo(voxels.dtype)
        values = [value for value in values if limits.min <= value <= limits.max]
    rest = voxels[~np.isin(voxels, np.array(values, voxels.dtype))]
    return [int(value) for value in np.unique(rest)] if rest.size else []


def value_lines(seen: Values) -> Iterator[str]:
    """The lines on values to ignore that occur nowhere, and on values that belong to no region."""
    for value, (file, occurs) in seen.to_ignore.items():  # a scan may well be known everywhere, but hardly all of them
        if not occurs:
            yield f"warning: {file}: neither here nor in any other mask is the value {value}, to be ignored"
    if seen.of_none:
        values = sorted(seen.of_none)
        first = seen.of_none[values[-1]][0]  # 255 rather than an organ that nobody asked for
        count = len({file for files in seen.of_none.values() for file in files})
        yield (
            f"warning: {first}: values of no region count as background, in {count} label map(s): {_ranges(values)}; "
            f"if one means that nobody has looked there, ignore it ('conemos datalist' with --ignore {values[-1]})"
        )


def _ranges(values: list[int]) -> str:
    """Sorted values as ``2, 4 to 9, 255``."""
    runs = [[value for _, value in run] for _, run in groupby(enumerate(values), lambda pair: pair[1] - pair[0])]
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return ", ".join(texts if len(texts) <= MOST_RANGES else [*texts[: MOST_RANGES - 1], "…", texts[-1]])


def _read_mask(file: Path, scan: Scan, root: Path, image: Volume | None, lines: list[str]) -> Volume | None:
    if is_seg_nrrd(file) and image is not None and not file_problem(file):
        try:
            voxels = read_on_grid(str(file), image.voxels.shape[1:], image.affine).numpy()
        except UserError as error:
            lines.append(f"error: {error}")
            return None
        return Volume(voxels, image.affine, has_channels=True)
    volume = read_file(file, lines, labels=True)
    if volume is not None:
        volume = volume._replace(voxels=as_tensor(volume.voxels, str(file)).numpy())
    if (
        volume is None
        or image is None
        or same_grid(volume, file, image, image_files(scan, root)[0], "its image", lines)
    ):
        return volume
    return None


def _region_mask(volume: Volume, source: MaskSource, root: Path, known: Volume | None) -> np.ndarray:
    """The mask (X, Y, Z) of one region, as training reads it."""
    file = root / str(source.file)
    if source.channel is not None and not volume.has_channels:
        raise UserError(f"{file}: 'channel' is {source.channel}, but the file is 3D: it has no channels")
    fields = {**source.model_dump(), "file": str(file), "known": str(root / str(source.known))}
    known_voxels = None if known is None else torch.from_numpy(known.voxels)
    return region_mask(torch.from_numpy(volume.voxels), fields, known_voxels).numpy()


def known_to_all(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The flat indices of each region's voxels, among the voxels where every region of the scan is known."""
    ignored = [mask == IGNORED for mask in masks.values() if (mask == IGNORED).any()]
    anywhere = np.logical_or.reduce(ignored) if ignored else False
    return {region: np.flatnonzero((mask == 1) & ~anywhere) for region, mask in masks.items()}


def empty_line(scan: Scan, root: Path, region: str) -> str:
    """The line on an empty mask that nobody declared absent."""
    source = scan.source(region)
    kind = f"no voxel has a value of {source.values}" if source.values is not None else "no voxel is 1"
    kind = f"no voxel is of segment {source.segment!r}" if source.segment is not None else kind
    return (
        f"error: {root / str(source.file)}: annotated region {region!r} is empty ({kind}); if it is unknown, leave it "
        "out of 'masks'; if it is absent, say so there (\"absent\": true), or with --empty absent for all empty masks"
    )
