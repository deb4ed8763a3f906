"""Masks as one DICOM SEG: the one writer of `conemos predict` and of the Deploy application."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError
from conemos_bundle.utils.extras import require_extra
from conemos_bundle.utils.version import __version__
from conemos_bundle.volumes.dicom import check_series
from conemos_bundle.volumes.dicom_seg_tags import NEEDED, fill_missing_tags
from conemos_bundle.volumes.dicom_tags import reject_missing_tags
from conemos_bundle.volumes.region_codes import RegionCode, region_code, segment_descriptions
from pydicom import Dataset

SERIES_NUMBER = 9000  # behind those of scanners, which count from 1


def seg_images(folder: str | os.PathLike[str]) -> list[Dataset]:
    """The images that a SEG of a folder's series refers to, with all that it takes from them; no pixel is read.

    Args:
        folder: of one series, searched with all its folders.

    Returns:
        D headers in ascending order along the slices' normal; absent tags that may be empty are (`fill_missing_tags`).

    Raises:
        UserError: it is no folder, as `check_series`, an image lacks an identity that a SEG refers to, or no SEG can
            be made of such images.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no DICOM folder, as dicom_seg needs; use another --output_format")
    images = check_series(folder, tags=None)
    reject_missing_tags(images, NEEDED)
    fill_missing_tags(images)
    check_images(images)
    return images


def check_images(images: Sequence[Dataset]) -> None:
    """Make a SEG of two of the images, in memory: highdicom refuses kinds of images, and whatever else, only then.

    Args:
        images: checked and filled.

    Raises:
        UserError: no SEG can be made of them.
    """
    masks = np.zeros((1, int(images[0].Columns), int(images[0].Rows), 2), np.uint8)
    write_seg(BytesIO(), masks, images[:2], ["region"], [region_code("region", [], [])], "model", "0")


def write_seg(
    path: str | os.PathLike[str] | BytesIO,
    masks: npt.NDArray[np.uint8],
    images: Sequence[Dataset],
    regions: Sequence[str],
    codes: Sequence[RegionCode],
    model: str,
    version: str,
) -> Dataset:
    """Write a binary DICOM SEG, a segment per region; segments may overlap.

    Empty frames are kept: some viewers shift a SEG without them.

    Args:
        path: of the file, or one in memory.
        masks: ``(R, W, H, D)`` of 0 and 1: columns, rows and images, as the reader has them.
        images: of `seg_images`, or ones that were checked and filled in the same way.
        regions: names of the R regions.
        codes: of these regions (`region_code`).
        model: its name.
        version: that of the model.

    Returns:
        what was written.

    Raises:
        UserError: highdicom is not installed, the series has changed since the masks were made, or no SEG can be made
            of it.
    """
    grid = (int(images[0].Columns), int(images[0].Rows), len(images))
    if masks.shape[1:] != grid:
        raise UserError(f"{Path(images[0].filename).parent}: changed while it was segmented; start again")
    require_extra("highdicom", "dicom")
    import highdicom

    try:
        images[0].decode()  # patients' names, by the character set of the scan
        seg: Dataset = highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=np.ascontiguousarray(masks.transpose(3, 2, 1, 0)),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segment_descriptions(regions, codes, model, version),
            series_instance_uid=highdicom.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="CoNeMOS Bundle",
            manufacturer_model_name=model[:64],
            software_versions=__version__,
            device_serial_number=version[:64],
            content_label="SEG",  # highdicom makes one of the modality, which may be absent or anything
            series_description=f"{model} (research only)"[:64],
            specific_character_set="ISO_IR 192",  # which has the letters of any name
            omit_empty_frames=False,
        )
        seg.save_as(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # strange tags raise whatever they like
        kind = images[0].SOPClassUID
        unknown = isinstance(error, KeyError) and error.args == (kind,)
        reason = "highdicom does not know them" if unknown else " ".join(str(error).split())
        folder = Path(images[0].filename).parent
        raise UserError(
            f"{folder}: no DICOM SEG can be made of images of the kind {kind.name} ({reason}); "
            "`conemos predict` writes masks in other formats"
        ) from error
    return seg
