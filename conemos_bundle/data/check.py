"""What is wrong with a data set: one line a problem, each beginning with ``error: `` or ``warning: ``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from conemos_bundle.data.absent import with_absent
from conemos_bundle.data.datalist import SPLITS, Datalist, MaskSource, Scan
from conemos_bundle.data.relations import Relation, relations, shared_voxels
from conemos_bundle.errors import UserError
from conemos_bundle.known import IGNORED
from conemos_bundle.transforms.masks import read_on_grid, region_mask
from conemos_bundle.transforms.seg_nrrd import is_seg_nrrd
from monai.data.utils import AFFINE_TOL, is_no_channel
from monai.transforms import LoadImage

EXTENSIONS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img")


class Checked(NamedTuple):
    """What reading a data set shows: one line per problem, and how its regions relate."""

    lines: list[str]
    relations: list[Relation]
    known: dict[
        tuple[str, str], list[float]
    ]  # (split, region): which part of the voxels is known, per scan with less than all
    empty: list[tuple[str, int, str]]  # split, index, region: empty masks that were taken for absent regions


class _Volume(NamedTuple):
    voxels: np.ndarray  # (C, X, Y, Z)
    affine: np.ndarray  # (4, 4), voxel to RAS in mm
    has_channels: bool  # the file itself is 4D


def structural_problems(datalist: Datalist, dataset_dir: str | os.PathLike[str]) -> list[str]:
    """The problems that show without reading a voxel, cheap enough for the start of a training.

    Files that do not exist, an image listed twice, a subject in two splits, a region without a training scan (errors)
    or without a validation scan (warning).

    Args:
        datalist: the datalist.
        dataset_dir: where its relative paths start.

    Raises:
        UserError: the folder does not exist.
    """
    root = _folder(dataset_dir)
    lines = []
    images: dict[str, str] = {}
    subjects: dict[str, tuple[str, Path]] = {}
    for split in SPLITS:
        for index, scan in enumerate(datalist.scans(split)):
            files = _images(scan, root)
            if not files:
                lines.append(f"error: {split}[{index}]: 'image' lists no file")
                continue
            sources = [scan.source(region) for region in scan.masks]
            masks = [root / file for source in sources for file in (source.file, source.known) if file is not None]
            lines += [f"error: {file}: {problem}" for file in files + masks if (problem := _file_problem(file))]
            for file in files:
                before = images.setdefault(os.path.realpath(file), f"{split}[{index}]")
                if before != f"{split}[{index}]" or files.count(file) > 1:
                    lines.append(f"error: {file}: the same image is listed twice, in {before} and {split}[{index}]")
            split_before, file_before = subjects.setdefault(scan.subject, (split, files[0]))
            if split_before != split:
                lines.append(
                    f"error: {files[0]}: subject {scan.subject!r} is in {split} and in {split_before} ({file_before}); "
                    "keep a subject in one split"
                )
    for region in datalist.regions:
        if not any(region in scan.annotated for scan in datalist.training):
            absent = any(region in scan.absent for scan in datalist.training)
            lines.append(
                f"error: region {region!r}: no training scan {'has' if absent else 'annotates'} it; annotate one, or "
                "leave the region out"
            )
        if not any(region in scan.annotated for scan in datalist.validation):
            lines.append(f"warning: region {region!r}: no validation scan annotates it")
    return list(dict.fromkeys(lines))


def problems(datalist: Datalist, dataset_dir: str | os.PathLike[str]) -> list[str]:
    """All problems of a data set: those of `structural_problems`, and those that reading every image and mask shows.

    Args:
        datalist: the datalist.
        dataset_dir: where its relative paths start.

    Returns:
        one line a problem, beginning with ``error: `` or ``warning: `` and naming the file.

    Raises:
        UserError: the folder does not exist.
    """
    return problems_and_relations(datalist, dataset_dir)[0]


def problems_and_relations(datalist: Datalist, dataset_dir: str | os.PathLike[str]) -> tuple[list[str], list[Relation]]:
    """`problems` and the `relations` of the regions, from reading every file once per scan."""
    checked = check_data_set(datalist, dataset_dir)
    return checked.lines, checked.relations


def check_data_set(datalist: Datalist, dataset_dir: str | os.PathLike[str], empty_is_absent: bool = False) -> Checked:
    """All that reading every file of a data set shows.

    Args:
        datalist: the datalist.
        dataset_dir: where its relative paths start.
        empty_is_absent: an empty mask is no error but says that its region is absent.

    Raises:
        UserError: the folder does not exist.
    """
    root = _folder(dataset_dir)
    lines = structural_problems(datalist, root)
    shared = []
    channels: dict[Path, int] = {}
    known: dict[tuple[str, str], list[float]] = {}
    empty: list[tuple[str, int, str]] = []
    to_ignore: dict[int, tuple[Path, bool]] = {}
    for split, index, scan in _places(datalist):
        image = _check_image(scan, root, lines)
        if image is not None:
            channels[_images(scan, root)[0]] = len(image.voxels)
        masks = _check_masks(scan, root, image, lines, to_ignore)
        for region in [region for region, mask in masks.items() if not (mask == 1).any() and region in scan.annotated]:
            if empty_is_absent:
                empty.append((split, index, region))
            else:
                lines.append(_empty(scan, root, region))
                del masks[region]
        for region, mask in masks.items():
            if (mask == IGNORED).any():
                known.setdefault((split, region), []).append(float((mask != IGNORED).mean()))
        voxels = _known_to_all(masks)
        lines += _not_inside(scan, root, voxels, datalist.inside)
        shared.append(shared_voxels(voxels, datalist.regions))
    usual = Counter(channels.values()).most_common(1)
    for file, count in channels.items():
        if count != usual[0][0]:
            other = next(other for other, its in channels.items() if its == usual[0][0])
            lines.append(
                f"error: {file}: {count} channel(s), but {other} has {usual[0][0]}; all scans need the same number"
            )
    found = relations(shared, datalist.regions)
    for a, name, b, _ in found:
        if name == "inside":
            lines.append(
                f"warning: regions: {b!r} contains {a!r} but is listed after it; list the outer region first "
                "(label maps are painted in this order)"
            )
    for value, (file, occurs) in to_ignore.items():  # a scan may well be known everywhere, but hardly all of them
        if not occurs:
            lines.append(f"warning: {file}: neither here nor in any other mask is the value {value}, to be ignored")
    if empty:
        lines += structural_problems(with_absent(datalist, empty), root)  # a region may be absent everywhere now
    return Checked(list(dict.fromkeys(lines)), found, known, empty)


def _places(datalist: Datalist) -> list[tuple[str, int, Scan]]:
    """Split, index and scan of all scans with an image."""
    places = [(split, index, scan) for split in SPLITS for index, scan in enumerate(datalist.scans(split))]
    return [place for place in places if place[2].image]


def _known_to_all(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The flat indices of each region's voxels, among the voxels where every region of the scan is known."""
    ignored = [mask == IGNORED for mask in masks.values() if (mask == IGNORED).any()]
    anywhere = np.logical_or.reduce(ignored) if ignored else False
    return {region: np.flatnonzero((mask == 1) & ~anywhere) for region, mask in masks.items()}


def _empty(scan: Scan, root: Path, region: str) -> str:
    source = scan.source(region)
    kind = f"no voxel has a value of {source.values}" if source.values is not None else "no voxel is 1"
    kind = f"no voxel is of segment {source.segment!r}" if source.segment is not None else kind
    return (
        f"error: {root / str(source.file)}: annotated region {region!r} is empty ({kind}); if it is unknown, leave it "
        "out of 'masks'; if it is absent, say so there (\"absent\": true), or with --empty absent for all empty masks"
    )


def _not_inside(scan: Scan, root: Path, voxels: dict[str, np.ndarray], inside: Mapping[str, str]) -> list[str]:
    """Lines on the annotated regions that leave the one they are declared inside of, where that is annotated too."""
    lines = []
    for inner, outer in inside.items():
        if inner in voxels and outer in voxels:
            out = np.setdiff1d(voxels[inner], voxels[outer], assume_unique=True).size
            if out:
                lines.append(
                    f"warning: {_images(scan, root)[0]}: {out} of {voxels[inner].size} voxels of {inner!r} lie outside "
                    f"{outer!r}, though the datalist declares it inside"
                )
    return lines


def _folder(dataset_dir: str | os.PathLike[str]) -> Path:
    root = Path(dataset_dir).expanduser().absolute()
    if not root.is_dir():
        raise UserError(
            f"{dataset_dir}: no such folder; pass --dataset_dir with the folder that the datalist's paths start at"
        )
    return root


def _images(scan: Scan, root: Path) -> list[Path]:
    return [root / file for file in ([scan.image] if isinstance(scan.image, str) else scan.image)]


def _file_problem(file: Path) -> str | None:
    if not file.name.lower().endswith(EXTENSIONS):
        return f"not an image format that is read here ({', '.join(EXTENSIONS)})"
    return None if file.is_file() else "no such file"


def _read(file: Path, lines: list[str]) -> _Volume | None:
    """The file as a 3D volume with channels first; None, and a line, where that fails."""
    if _file_problem(file):
        return None  # `structural_problems` has said so
    try:
        image = LoadImage(ensure_channel_first=True)(file)
    except Exception as error:  # each reader raises its own kinds
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        lines.append(f"error: {file}: cannot be read: damaged, or not what its extension says ({reason})")
        return None
    if image.ndim != 4:
        lines.append(f"error: {file}: not a 3D image, nor a 4D one with the channels last, but {image.ndim - 1}D")
        return None
    has_channels = not is_no_channel(image.meta["original_channel_dim"])
    volume = _Volume(image.numpy(), image.affine.numpy(), has_channels)
    if not np.isfinite(volume.voxels).all():
        lines.append(f"error: {file}: has NaN or infinite values")
        return None
    return volume


def _check_image(scan: Scan, root: Path, lines: list[str]) -> _Volume | None:
    """The image of a scan, its channels stacked; None, and lines, where it cannot be used."""
    files = _images(scan, root)
    volumes: list[_Volume] = []
    for file in files:
        volume = _read(file, lines)
        if volume is None:
            continue
        for channel, voxels in enumerate(volume.voxels):
            if voxels.min() == voxels.max():
                where = f"channel {channel} of the image" if len(volume.voxels) > 1 else "the image"
                lines.append(f"error: {file}: {where} is constant ({voxels.min():g} everywhere)")
        if len(files) > 1 and len(volume.voxels) > 1:
            lines.append(
                f"error: {file}: {len(volume.voxels)} channels, but of several image files each is one channel"
            )
        elif not volumes or _same_grid(volume, file, volumes[0], files[0], "the first channel", lines):
            volumes.append(volume)
    if len(volumes) < len(files):
        return None
    return volumes[0]._replace(voxels=np.concatenate([volume.voxels for volume in volumes]))


def _check_masks(
    scan: Scan, root: Path, image: _Volume | None, lines: list[str], to_ignore: dict[int, tuple[Path, bool]]
) -> dict[str, np.ndarray]:
    """The mask (X, Y, Z) of each annotated or absent region that is in order: 0, 1 and `IGNORED`.

    ``to_ignore`` gets for each value to ignore the first file that shall hold it, and whether it occurs anywhere.
    """
    volumes: dict[str, _Volume | None] = {}
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
            first, occurs = to_ignore.get(value, (root / source.file, False))
            occurs = occurs or bool((volume.voxels[source.channel or 0] == value).any())  # type: ignore[union-attr]
            to_ignore[value] = first, occurs
    return {} if image is None else masks  # without the image nothing says that two masks share a grid


def _read_mask(file: Path, scan: Scan, root: Path, image: _Volume | None, lines: list[str]) -> _Volume | None:
    if is_seg_nrrd(file) and image is not None and not _file_problem(file):
        try:
            voxels = read_on_grid(str(file), image.voxels.shape[1:], image.affine).numpy()
        except UserError as error:
            lines.append(f"error: {error}")
            return None
        return _Volume(voxels, image.affine, has_channels=True)
    volume = _read(file, lines)
    if volume is None or image is None or _same_grid(volume, file, image, _images(scan, root)[0], "its image", lines):
        return volume
    return None


def _region_mask(volume: _Volume, source: MaskSource, root: Path, known: _Volume | None) -> np.ndarray:
    """The mask (X, Y, Z) of one region, as training reads it, but with label maps held to integers."""
    file = root / str(source.file)
    if source.channel is not None and not volume.has_channels:
        raise UserError(f"{file}: 'channel' is {source.channel}, but the file is 3D: it has no channels")
    if source.values is not None:
        wrong = volume.voxels[volume.voxels != np.round(volume.voxels)]
        if wrong.size:
            raise UserError(f"{file}: a label map holds integers, but this has the value {wrong[0]:g}")
    fields = {**source.model_dump(), "file": str(file), "known": str(root / str(source.known))}
    known_voxels = None if known is None else torch.from_numpy(known.voxels)
    return region_mask(torch.from_numpy(volume.voxels), fields, known_voxels).numpy()


def _same_grid(volume: _Volume, file: Path, other: _Volume, other_file: Path, what: str, lines: list[str]) -> bool:
    if (shape := volume.voxels.shape[1:]) != (expected := other.voxels.shape[1:]):
        lines.append(f"error: {file}: shape {shape} differs from {expected} of {what} {other_file}")
        return False
    if not np.allclose(volume.affine, other.affine, rtol=0, atol=AFFINE_TOL):
        affine, wanted = (np.round(each.affine[:3], 4).tolist() for each in (volume, other))
        lines.append(f"error: {file}: affine {affine} differs from {wanted} of {what} {other_file}")
        return False
    return True
