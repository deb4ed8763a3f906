"""`conemos predict`: segment the regions asked for."""

from __future__ import annotations

from pathlib import Path

from conemos_bundle.errors import UserError
from conemos_bundle.inferers.saving import FORMATS
from conemos_bundle.predictor import Predictor, segment_scans


def predict(
    *scans: str,
    regions: str | list[str] | None = None,
    output: str = "predictions",
    model: str | None = None,
    output_format: str = "files",
    mode: str = "window",
    device: str | None = None,
    resume: bool = True,
) -> None:
    """Segment regions of scans; only those asked for cost time. A scan that cannot be read does not end the others.

    Args:
        scans: scan files (NIfTI, NRRD, MHA), DICOM folders, or folders of scans. For a model of several channels, the
            files of one scan, one per channel, in the order of training; or files named CASE_0000, CASE_0001, ….
        regions: names, ``anterior`` or ``"['anterior','posterior']"``; default: all.
        output: folder for the results.
        model: a bundle's folder or that of a finished run; default: the hippocampus model of this package.
        output_format: ``files`` (one a region), ``multichannel`` (4D NIfTI), ``labelmap`` or ``seg.nrrd`` (3D Slicer).
        mode: ``window``: sliding, as large as the training patches; ``whole``: the scan at once, less exact.
        device: such as ``cpu`` or ``cuda:0``.
        resume: leave out scans whose regions are in ``output`` already, of the same scan, model and settings; False:
            segment all of them again.

    Raises:
        UserError: something in the scans or the options is wrong; of several scans, when the others are done.
    """
    if output_format not in FORMATS:
        raise UserError(f"--output_format {output_format!r}: use one of {', '.join(FORMATS)}")
    listed = regions if isinstance(regions, list | tuple) or regions is None else str(regions).split(",")
    names = None if listed is None else [str(name).strip() for name in listed]
    predictor = Predictor.load(model, device, mode, names)
    segment_scans(predictor, [Path(str(scan)) for scan in scans], str(output), names, output_format, resume)
