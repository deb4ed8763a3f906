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
    finished: Callable[[Sequence[dict[str, Any]], Mapping[str, str]], object] | None = None,
) -> list[dict[str, Any]]:
    """Segment scans into files, and print what was written. One that cannot be segmented does not end the others.

    Args:
        predictor: the model.
        scans: one path or several, of files, DICOM folders, or folders of these (`find_scans`).
        output_dir: where the files go; see `SaveImageRegionsd`.
        regions: one name or several; None: all.
        output_format: ``files`` (one per region), ``multichannel``, ``labelmap`` or ``seg.nrrd``.
        resume: leave out scans whose regions are there already, of the same scan, model and settings.
        paint_order: for label maps: regions, outer first; None: the order of the model.
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
    )
    reject_unwritable(absolute(output_dir))
    found_scans = find_scans(scans, predictor.channels)
    reject_no_scans(found_scans)
    items = found_scans
    if resume:
        items = unfinished_scans(items, output_dir, asked, output_format, made_by)

    def segment(item: dict[str, Any]) -> dict[str, Any]:
        found = predictor.each(item["image"], asked)
        first = next(found)  # what is wrong with the scan is said before anything is written
        notes: dict[str, dict[str, str]] = {}

        def masks() -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
            for one in chain([first], found):
                notes.update({region: {"not_found": outer} for region, outer in one.missed.items()})
                yield one.regions[0], one.masks[0]

        return save.save_each(masks(), first.affine, first.meta, item["name"], notes)

    return segment_items(items, segment, None if finished is None else partial(finished, found_scans))
