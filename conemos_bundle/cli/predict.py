"""`conemos predict`: segment the regions asked for."""

from __future__ import annotations

import logging
from pathlib import Path

from conemos_bundle.data.results import absolute
from conemos_bundle.errors import UserError
from conemos_bundle.inferers import asked_regions
from conemos_bundle.inferers.inference import MODES
from conemos_bundle.inferers.saving import FORMATS
from conemos_bundle.runs.model_files import model_settings, torch_device
from conemos_bundle.training.workflows import quiet_workflow


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
    logging.getLogger("ignite").setLevel(logging.WARNING)
    settings = model_settings(model)
    folder = Path(settings["bundle_root"]) / "configs"
    if device is not None:
        settings["device"] = torch_device(device)
    listed = regions if isinstance(regions, list | tuple) or regions is None else str(regions).split(",")
    names = None if listed is None else [str(name).strip() for name in listed]
    # MONAI evaluates texts that begin with "$": only names that the model knows go in, and paths as objects
    names = asked_regions(names, settings["region_names"])
    for option, value, allowed in (("output_format", output_format, FORMATS), ("mode", mode, MODES)):
        if value not in allowed:
            raise UserError(f"--{option} {value!r}: use one of {', '.join(allowed)}")
    files = [folder / "inference.json", *([folder / "batch_inference.json"] if resume else [])]
    workflow = quiet_workflow(
        workflow_type="inference",
        config_file=[str(file) for file in files if file.is_file()],
        meta_file=str(folder / "metadata.json"),
        logging_file=False,
        dataset_dir=[Path(str(scan)) for scan in scans],
        output_dir=absolute(str(output)),
        output_format=output_format,
        mode=mode,
        regions=names,
        **settings,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
