"""Saved annotations as a data set to train on: masks in files, and datalists."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from conemos_bundle.data.datalist import Datalist, Scan, write_datalist
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.annotations import Mask
from conemos_bundle.transforms.masks import vanishes
from conemos_bundle.utils.known import IGNORED
from conemos_bundle.volumes import nifti_header, save_mask


class Saved(NamedTuple):
    """A scan, its file, its affine (voxel to mm in RAS), the masks that annotators saved, and the model's own."""

    name: str
    image: str
    affine: npt.NDArray[Any]
    masks: Mapping[str, Mask]
    predicted: Mapping[str, Mask]


def validates(name: str, fraction: float) -> bool:
    """Whether a scan is one to judge models by: its name decides, so that the next training judges by it too."""
    number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    return number < fraction * 16**8


def split(names: Sequence[str], fraction: float, trained_before: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Names to train on and names to judge by, about ``fraction`` of them; one at least of either where there are two.

    What the served model was trained on does not judge. Where there is nothing else to judge by, one that it was
    trained on does: of one scan alone, both are that scan.

    Args:
        names: all annotated scans.
        fraction: about which part of them judges.
        trained_before: what the served model was trained on.
    """
    by_number = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    unseen = [name for name in by_number if name not in trained_before] or by_number
    judged = [name for name in unseen if validates(name, fraction)] or unseen[:1]
    if len(judged) == len(names) > 1:
        judged = judged[:-1]
    trained = [name for name in names if name not in judged]
    return trained or judged, judged


def write_training_set(
    folder: Path,
    saved: Sequence[Saved],
    region_names: Sequence[str],
    spacing: Sequence[float],
    fraction: float,
    trained_before: Collection[str] = (),
) -> list[str]:
    """Write ``datalist.json``, to train on, and ``holdout.json``, to compare the old and the new model on.

    Their paths of masks start at the folder, which may be moved.

    Only what is in a scan's saved label is annotated in it. A region without any saved mask to train on is rehearsed
    with the old model's own masks, one without any to judge by is judged by them: training shall not forget it.

    Args:
        folder: an empty folder.
        saved: the annotated scans.
        region_names: the K regions.
        spacing: of training, in mm; predicted masks of which it leaves nothing are left out.
        fraction: about which part of the scans judges.
        trained_before: names of scans that the served model was trained on (`trained_on`).

    Returns:
        the regions that no judging scan has a saved mask of.

    Raises:
        UserError: there is no annotation.
    """
    saved = [scan for scan in saved if scan.masks]
    if not saved:
        raise UserError("no saved label holds a region of this model; annotate a scan and submit it first")
    trained, judged = split([scan.name for scan in saved], fraction, trained_before)
    unannotated = _missing([scan for scan in saved if scan.name in judged], region_names)
    rehearsed = _missing([scan for scan in saved if scan.name in trained], region_names)
    training, validation, judges = [], [], []
    for index, scan in enumerate(saved):
        masks = {region: _write(folder, "saved", index, region, m, scan) for region, m in scan.masks.items()}
        own = {
            region: _write(folder, "predicted", index, region, scan.predicted[region], scan)
            for region in region_names
            if region in (*rehearsed, *unannotated)
            and region not in masks
            and not vanishes(scan.predicted[region], scan.affine, spacing)
        }
        if scan.name in trained:
            training.append(_scan(scan, {**masks, **{region: own[region] for region in rehearsed if region in own}}))
        if scan.name in judged:
            if scan.name not in trained:  # one scan alone: the last epoch's model is judged, by what it was trained on
                validation.append(_scan(scan, masks))
            judges.append(_scan(scan, {**masks, **{region: own[region] for region in unannotated if region in own}}))
    of_all: dict[str, Any] = {"name": "saved annotations", "regions": list(region_names)}
    write_datalist(Datalist(**of_all, training=training, validation=validation), folder / "datalist.json")
    write_datalist(Datalist(**of_all, validation=judges), folder / "holdout.json")
    return unannotated


def _missing(saved: Sequence[Saved], region_names: Sequence[str]) -> list[str]:
    """The regions that no scan has a saved mask of."""
    return [region for region in region_names if not any(region in scan.masks for scan in saved)]


def _scan(scan: Saved, masks: dict[str, Any]) -> Scan:
    return Scan(image=scan.image, subject=scan.name, masks=masks)


def _write(folder: Path, kind: str, index: int, region: str, mask: Mask, scan: Saved) -> str | dict[str, Any]:
    """A mask's file, and its entry in a datalist."""
    path = f"{kind}/{region}/scan_{index}.nii.gz"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    save_mask(folder / path, mask.astype(np.uint8), scan.affine, nifti_header(scan.image))
    return {"file": path, "ignore": [IGNORED]} if bool((mask == IGNORED).any()) else path
