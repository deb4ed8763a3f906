"""`conemos predict`: segment the regions asked for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.bundle_metadata import read_metadata
from conemos_bundle.data.results import absolute
from conemos_bundle.errors import UserError
from conemos_bundle.inferers import asked_regions
from conemos_bundle.inferers.inference import MODES
from conemos_bundle.paths import bundle_folder
from conemos_bundle.runs import load_weights, read_record
from conemos_bundle.transforms.saving import FORMATS
from monai.bundle import ConfigWorkflow


def model_settings(model: Path) -> dict[str, Any]:
    """What inference.json must know of a model: of a bundle, where it is; of a finished run, all that its record says.

    Raises:
        UserError: the folder is neither.
    """
    if (model / "configs" / "inference.json").is_file():
        weights = model / "models" / "model.pt"
        if not weights.is_file():
            raise UserError(f"{weights}: no such file; this bundle has no weights")
        load_weights(weights)
        _, region_names = read_metadata(model / "configs" / "metadata.json")
        return {"bundle_root": Path(model), "region_names": region_names}
    if not (model / "model.pt").is_file():
        raise UserError(f"{model}: neither a bundle (configs/inference.json) nor a finished run (model.pt)")
    record = read_record(model / "model.pt")
    load_weights(model / "model.pt")
    return {
        "bundle_root": bundle_folder(),
        "ckpt_path": model / "model.pt",
        "region_names": record["regions"],
        "inside": record.get("inside", {}),
        "spacing": record["plan"]["spacing"],
        "window": record["plan"]["patch_size"],
        "network_def": record["network"],
    }


def torch_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UserError: PyTorch knows none, or has it not on this machine.
    """
    try:
        return torch.zeros(1, device=str(name)).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not available here; use cpu, or leave it out") from error


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
    settings = model_settings(Path(model).expanduser() if model else bundle_folder())
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
    workflow = ConfigWorkflow(
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
