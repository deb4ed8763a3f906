"""Scans into files: what `conemos predict` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from conemos_bundle.data import find_scans, reject_no_scans, unfinished_scans
from conemos_bundle.data.results import absolute
from conemos_bundle.errors import UserError
from conemos_bundle.files import reject_unwritable
from conemos_bundle.inferers import SaveImageRegionsd, asked_regions
from conemos_bundle.inferers.each_scan import segment_items
from conemos_bundle.predictor.predictor import Predictor


def segment_scans(
    predictor: Predictor,
    scans: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    regions: str | Sequence[str] | None = None,
    output_format: str = "files",
    resume: bool = True,
    paint_order: Sequence[str] | None = None,
    probabilities: bool = False,
    finished: Callable[[Sequence[dict[str, Any]], Mapping[str, str]], object] | None = None,
) -> list[dict[str, Any]]:
    """Segment scans into files, and print what was written. One that cannot be segmented does not end the others.

    Args:
        predictor: the model.
        scans: one path or several, of files, DICOM folders, or folders of these (`find_scans`).
        output_dir: where the files go; see `SaveImageRegionsd`.
        regions: one name or several; None: all.
        output_format: ``files`` (one per region), ``multichannel``, ``labelmap``, ``seg.nrrd`` or, of DICOM folders,
            ``dicom_seg``.
        resume: leave out scans whose regions are there already, of the same scan, model and settings.
        paint_order: for label maps: regions, outer first; None: the order of the model.
        probabilities: write each region's too.
        finished: called when all scans are done, with those that were found (`find_scans`), and with what was wrong, by
            the names of those that failed.

    Returns:
        what was written now, one dictionary per scan: ``image``, ``outputs``, ``regions`` with their sizes, ….

    Raises:
        UserError: something in the options or scans is wrong; of several scans, when the others are done.
    """
    asked = asked_regions(regions, predictor.regions)
    made_by = predictor.made_by(paint_order)
    save = SaveImageRegionsd(
        region_names=predictor.regions,
        regions=asked,
        output_dir=output_dir,
        output_format=output_format,
        paint_order=paint_order,
        made_by=made_by,
        model=(predictor.name, predictor.version),
        probabilities=probabilities,
    )
    reject_unwritable(absolute(output_dir))
    found_scans = find_scans(scans, predictor.channels)
    reject_no_scans(found_scans)
    if output_format == "dicom_seg":
        _reject_other_than_dicom(found_scans)
    if output_format == "files" or probabilities:
        _reject_masks_among_slices(found_scans, output_dir)
    items = found_scans
    if resume:
        items = unfinished_scans(items, output_dir, asked, output_format, made_by, probabilities)

    def segment(item: dict[str, Any]) -> dict[str, Any]:
        if output_format == "dicom_seg":
            from conemos_bundle.volumes.dicom_seg import seg_images  # pydicom's tables of codes take half a second

            seg_images(item["image"])  # what it lacks for a SEG is said before the network runs
        found = predictor.each(item["image"], asked, probabilities=probabilities, confidences=True)
        first = next(found)  # what is wrong with the scan is said before anything is written
        notes: dict[str, dict[str, str | float]] = {}
        sure: dict[str, npt.NDArray[np.float32]] = {}

        def masks() -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
            for one in chain([first], found):
                region = one.regions[0]
                notes[region] = {"confidence": round((one.confidences or {})[region], 4)}
                if region in one.missed:
                    notes[region]["not_found"] = one.missed[region]
                if one.probabilities is not None:
                    sure[region] = one.probabilities[0]
                yield region, one.masks[0]

        return save.save_each(masks(), first.affine, first.meta, item["name"], notes, sure)

    told = None if finished is None else partial(finished, found_scans)
    return segment_items(items, segment, told, len(found_scans))


def _reject_other_than_dicom(items: Sequence[dict[str, Any]]) -> None:
    for item in items:
        image = item["image"]
        if "problem" not in item and not (isinstance(image, str) and os.path.isdir(image)):
            scan = image if isinstance(image, str) else image[0]
            raise UserError(f"{scan}: no DICOM folder, as dicom_seg needs; use another --output_format")


def _reject_masks_among_slices(items: Sequence[dict[str, Any]], output_dir: str | os.PathLike[str]) -> None:
    """Where ``<output>/<name>``, which the masks of a scan go into, is the DICOM folder that it was read from."""
    for item in items:
        image, folder = item["image"], absolute(output_dir) / item["name"]
        if "problem" not in item and isinstance(image, str) and os.path.realpath(image) == os.path.realpath(folder):
            raise UserError(f"{image}: its masks would lie among its slices; pass another --output")
