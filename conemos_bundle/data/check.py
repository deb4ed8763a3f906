"""What is wrong with a data set: one line per problem, each beginning with ``error: `` or ``warning: ``."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from conemos_bundle.data.absent import with_absent
from conemos_bundle.data.check_files import check_image, file_problem, image_files
from conemos_bundle.data.check_masks import check_masks, empty_line, known_to_all, value_lines, values_of
from conemos_bundle.data.datalist import SPLITS, Datalist, Scan
from conemos_bundle.data.relations import Relation, relations, shared_voxels
from conemos_bundle.data.time_points import shared_patients
from conemos_bundle.errors import UserError
from conemos_bundle.utils.known import IGNORED

MOST_TOLD = 3  # patients in two splits by their names


class Checked(NamedTuple):
    """What reading a data set shows: one line per problem, and how its regions relate."""

    lines: list[str]
    relations: list[Relation]
    # per (split, region): the known part of the voxels of each scan where some are ignored
    known: dict[tuple[str, str], list[float]]
    empty: list[tuple[str, int, str]]  # split, index, region: empty masks that were taken for absent regions
    volumes: dict[str, list[float]]  # per region: ml in each scan that has it


def structural_problems(datalist: Datalist, dataset_dir: str | os.PathLike[str]) -> list[str]:
    """The problems that show without reading a voxel, cheap enough for the start of a training.

    Files that do not exist, an image listed twice, a subject in two splits, a region without a training scan (errors)
    or without a validation scan, an annotation of two subjects (warnings).

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
    annotations: dict[str, tuple[str, str]] = {}
    for split in SPLITS:
        for index, scan in enumerate(datalist.scans(split)):
            files = image_files(scan, root)
            if not files:
                lines.append(f"error: {split}[{index}]: 'image' lists no file")
                continue
            sources = [scan.source(region) for region in scan.masks]
            masks = [root / file for source in sources for file in (source.file, source.known) if file is not None]
            lines += [f"error: {file}: {problem}" for file in files + masks if (problem := file_problem(file))]
            for file in files:
                before = images.setdefault(os.path.realpath(file), f"{split}[{index}]")
                if before != f"{split}[{index}]" or files.count(file) > 1:
                    lines.append(f"error: {file}: the same image is listed twice, in {before} and {split}[{index}]")
            for file in dict.fromkeys(root / source.file for source in sources if source.file is not None):
                whose, before = annotations.setdefault(os.path.realpath(file), (scan.subject, f"{split}[{index}]"))
                if whose != scan.subject:  # images of one subject may well share a mask
                    lines.append(
                        f"warning: {file}: the same annotation is listed for two subjects, {whose!r} ({before}) and "
                        f"{scan.subject!r} ({split}[{index}])"
                    )
            split_before, file_before = subjects.setdefault(scan.subject, (split, files[0]))
            if split_before != split:
                lines.append(
                    f"error: {files[0]}: subject {scan.subject!r} is in {split} and in {split_before} ({file_before}); "
                    "keep a subject in one split"
                )
    by_split = {split: {scan.subject for scan in datalist.scans(split)} for split in SPLITS}
    pattern, shared = shared_patients(by_split)
    lines += [
        f"warning: subjects {a!r} ({split_a}) and {b!r} ({split_b}) look like times of one patient; if so, keep them "
        f"in one split (conemos datalist --subject {shlex.quote(pattern)})"
        for a, split_a, b, split_b in shared[:MOST_TOLD]
    ]
    if len(shared) > MOST_TOLD:
        lines.append(f"warning: so do those of {len(shared) - MOST_TOLD} more patients")
    for region in datalist.regions:
        if not any(region in scan.annotated for scan in datalist.training):
            absent = any(region in scan.absent for scan in datalist.training)
            lines.append(
                f"error: region {region!r}: no training scan {'has' if absent else 'annotates'} it; annotate one, or "
                "leave the region out"
            )
        if not any(region in scan.annotated for scan in datalist.validation):
            lines.append(f"warning: region {region!r}: no validation scan annotates it")
        if datalist.test and not any(region in scan.masks for scan in datalist.test):
            lines.append(f"warning: region {region!r}: no test scan annotates it; 'conemos evaluate' cannot tell of it")
    return list(dict.fromkeys(lines))


def problems(datalist: Datalist, dataset_dir: str | os.PathLike[str]) -> list[str]:
    """All problems of a data set: those of `structural_problems`, and those that reading every image and mask shows.

    Args:
        datalist: the datalist.
        dataset_dir: where its relative paths start.

    Returns:
        one line per problem, beginning with ``error: `` or ``warning: `` and naming the file.

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
    volumes: dict[str, list[float]] = {}
    seen = values_of(datalist)
    for split, index, scan in _places(datalist):
        image = check_image(scan, root, lines)
        if image is not None:
            channels[image_files(scan, root)[0]] = len(image.voxels)
        masks = check_masks(scan, root, image, lines, seen)
        for region in [region for region, mask in masks.items() if not (mask == 1).any() and region in scan.annotated]:
            if empty_is_absent:
                empty.append((split, index, region))
            else:
                lines.append(empty_line(scan, root, region))
                del masks[region]
        for region, mask in masks.items():
            inside = np.count_nonzero(mask == 1)
            if inside and image is not None:
                voxel = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
                volumes.setdefault(region, []).append(inside * voxel)
            if (mask == IGNORED).any():
                known.setdefault((split, region), []).append(float((mask != IGNORED).mean()))
        voxels = known_to_all(masks)
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
    lines += value_lines(seen)
    if empty:
        lines += structural_problems(with_absent(datalist, empty), root)  # a region may be absent everywhere now
    return Checked(list(dict.fromkeys(lines)), found, known, empty, volumes)


def _places(datalist: Datalist) -> list[tuple[str, int, Scan]]:
    """Split, index and scan of all scans with an image."""
    places = [(split, index, scan) for split in SPLITS for index, scan in enumerate(datalist.scans(split))]
    return [place for place in places if place[2].image]


def _not_inside(scan: Scan, root: Path, voxels: dict[str, np.ndarray], inside: Mapping[str, str]) -> list[str]:
    """Lines on the annotated regions that leave the one they are declared inside of, where that is annotated too."""
    lines = []
    for inner, outer in inside.items():
        if inner in voxels and outer in voxels:
            out = np.setdiff1d(voxels[inner], voxels[outer], assume_unique=True).size
            if out:
                lines.append(
                    f"warning: {image_files(scan, root)[0]}: {out} of {voxels[inner].size} voxels of {inner!r} lie "
                    f"outside {outer!r}, though the datalist declares it inside"
                )
    return lines


def _folder(dataset_dir: str | os.PathLike[str]) -> Path:
    root = Path(dataset_dir).expanduser().absolute()
    if not root.is_dir():
        raise UserError(
            f"{dataset_dir}: no such folder; pass --dataset_dir with the folder that the datalist's paths start at"
        )
    return root
