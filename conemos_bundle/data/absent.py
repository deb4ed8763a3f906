"""Declaring that empty masks mean absent, where a user says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from conemos_bundle.data.datalist import SPLITS, Datalist, MaskSource, Scan
from conemos_bundle.errors import UserError
from conemos_bundle.transforms.masks import read_mask_file, read_on_grid, region_mask


def check_empty_option(empty: str | None) -> bool:
    """Whether ``--empty absent`` was given.

    Raises:
        UserError: it has another value.
    """
    if empty not in (None, "absent"):
        raise UserError(f"--empty {empty}: write --empty absent where an empty mask means that its region is absent")
    return empty is not None


def with_absent(datalist: Datalist, masks: Sequence[tuple[str, int, str]]) -> Datalist:
    """The datalist with these masks (split, index of the scan, region) declared absent."""
    splits = {split: list(datalist.scans(split)) for split in SPLITS}
    for split, index, region in masks:
        scan = splits[split][index]
        absent = scan.source(region).model_copy(update={"absent": True})
        splits[split][index] = scan.model_copy(update={"masks": {**scan.masks, region: absent}})
    return datalist.model_copy(update=splits)


def declare_absent(scans: Sequence[Scan], root: Path) -> tuple[list[Scan], int]:
    """The scans with each empty mask declared absent, and how many these are. Every mask is read.

    Args:
        scans: the scans.
        root: where their paths start.

    Returns:
        scans whose empty masks have become ``{"file": …, "absent": true}``: should someone fill the file later, it is
        noticed.

    Raises:
        UserError: a mask cannot be read, or is none.
    """
    declared, count = [], 0
    for scan in scans:
        masks = dict(scan.masks)
        volumes: dict[tuple[str | None, str | None], tuple[torch.Tensor, torch.Tensor | None]] = {}
        for region in sorted(scan.annotated):
            source = scan.source(region)
            key = source.file, source.known
            if key not in volumes:  # one label map holds many regions
                volumes[key] = _read(source, root)
            fields = {**source.model_dump(), "file": str(root / str(source.file))}
            if not bool((region_mask(volumes[key][0], fields, volumes[key][1]) == 1).any()):
                masks[region] = source.model_copy(update={"absent": True})
                count += 1
        declared.append(scan.model_copy(update={"masks": masks}))
    return declared, count


def _read(source: MaskSource, root: Path) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The mask's file and, where there is one, the file ``known``, on its grid."""
    file = str(root / str(source.file))
    if source.known is None:
        return read_mask_file(file)[0], None
    known, affine = read_mask_file(str(root / source.known))
    return read_on_grid(file, known.shape[1:], affine), known
