"""`conemos predict`: segment the regions asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.cli.runs_here import check_model_folder, name_runs
from conemos_bundle.cli.warnings_told import kept_warnings
from conemos_bundle.errors import UsageError
from conemos_bundle.utils.extras import require_extra
from conemos_bundle.utils.nearest import check_path, match_region, suggestion
from conemos_bundle.utils.paths import bundle_folder

logger = logging.getLogger(__name__)
FORMATS = ("files", "multichannel", "labelmap", "seg.nrrd", "dicom_seg")
MODES = ("window", "whole")
ENGINES = ("torch", "openvino")


def predict(
    *scans: str,
    regions: str | list[str] | None = None,
    output: str = "predictions",
    model: str | None = None,
    output_format: str = "files",
    mode: str = "window",
    device: str | None = None,
    engine: str = "torch",
    resume: bool = True,
    probabilities: bool = False,
    report: bool = False,
) -> None:
    """Segment regions of scans; only those asked for cost time. A scan that cannot be read does not end the others.

    Args:
        scans: scan files (NIfTI, NRRD, MHA), DICOM folders, or folders of scans. For a model of several channels, the
            files of one scan, one per channel, in the order of training; or files named CASE_0000, CASE_0001, ….
        regions: names, ``anterior posterior`` or ``anterior,posterior``, in upper or lower case; default: all.
        output: folder for the results.
        model: a bundle's folder or that of a finished run; default: the hippocampus model of this package.
        output_format: ``files`` (one per region), ``multichannel`` (4D NIfTI), ``labelmap``, ``seg.nrrd``
            (3D Slicer) or ``dicom_seg`` (DICOM SEG, of DICOM folders).
        mode: ``window``: sliding, as large as the training patches; ``whole``: the scan at once, less exact.
        device: such as ``cpu`` or ``cuda:0``.
        engine: what computes the network: ``torch``, or ``openvino``, faster on a CPU after some seconds of conversion.
        resume: leave out scans whose regions are in ``output`` already, of the same scan, model and settings; False:
            segment all of them again.
        probabilities: write ``<region>_probability.nii.gz`` too, from 0 to 1.
        report: write ``report.html`` into ``output``: pictures with outlines, volumes, what was not found, settings.

    Raises:
        UserError: something in the scans or the options is wrong; of several scans, when the others are done.
    """
    listed = regions if isinstance(regions, list | tuple) or regions is None else str(regions).split(",")
    names = None if listed is None else [str(name).strip() for name in listed]
    _check(scans, names, model, output_format, mode, engine)
    if report:
        from conemos_bundle.reports.page import REPORT, reject_unwritable_report

        reject_unwritable_report(Path(str(output)) / REPORT)

    from conemos_bundle.predictor import Predictor, segment_scans
    from conemos_bundle.utils.memory import keep_freed_memory

    predictor = Predictor.load(model, device, mode, names, engine)
    keep_freed_memory(predictor.device)
    paths = [Path(str(scan)) for scan in scans]
    with kept_warnings() as warnings:
        if model is None and (runs := name_runs("--model")):
            logger.warning(f"no --model given: this is the {predictor.name} model that comes with the package{runs}")

        def finished(found: Sequence[dict[str, Any]], failed: Mapping[str, str]) -> None:
            from conemos_bundle.inferers import asked_regions
            from conemos_bundle.reports.predicted import write_prediction_report

            told = {
                "model": " ".join(word for word in (predictor.name, predictor.version) if word != "unknown"),
                "weights (SHA-256)": str((predictor.made_by() or {}).get("model", ""))[:16],
                "mode": mode,
                "engine": engine,
                "device": str(predictor.device),
                "format": output_format,
            }
            asked = asked_regions(names, predictor.regions)
            file = write_prediction_report(str(output), found, asked, told, failed, warnings, output_format)
            print(f"report: {file}", flush=True)

        written = segment_scans(
            predictor,
            paths,
            str(output),
            names,
            output_format,
            resume=resume,
            probabilities=probabilities,
            finished=finished if report else None,
        )
    if written:
        viewers = {"seg.nrrd": "3D Slicer", "dicom_seg": "OHIF or 3D Slicer"}
        viewer = viewers.get(output_format, "3D Slicer or ITK-SNAP")
        print(f"next: view the masks in {output} over their scan in {viewer}", flush=True)


def _check(
    scans: Sequence[str], regions: Sequence[str] | None, model: str | None, output_format: str, mode: str, engine: str
) -> None:
    """Refuse what can be seen to be wrong before anything is loaded or written."""
    options = (("output_format", output_format, FORMATS), ("mode", mode, MODES), ("engine", engine, ENGINES))
    for option, value, allowed in options:
        if value not in allowed:
            raise UsageError(f"--{option} {value!r}: use one of {', '.join(allowed)}{suggestion(str(value), allowed)}")
    if engine == "openvino":
        require_extra("openvino", "openvino", "OpenVINO")
    if output_format == "dicom_seg":
        require_extra("highdicom", "dicom")
    folder = bundle_folder() if model is None else check_model_folder(str(model), "--model")
    if not _holds_model(folder) and (runs := name_runs("--model")):
        raise UsageError(f"{model}: holds neither a bundle nor a run's model.pt{runs}")
    known = _regions_of(folder)
    for name in regions or [] if known else []:
        try:
            match_region(name, known)
        except UsageError as error:
            others = (name_runs("--model") or "; --model names a run or bundle of yours") if model is None else ""
            raise UsageError(f"{error}{others}") from error
    for scan in scans:
        if check_path(str(scan)).is_file() and output_format == "dicom_seg":
            raise UsageError(f"{scan}: no DICOM folder, as dicom_seg needs; use another --output_format")


def _holds_model(folder: Path) -> bool:
    """Whether there is a bundle, a run's weights or a TorchScript file."""
    named = (folder / "configs" / "inference.json", folder / "model.pt")
    return any(file.is_file() for file in named) or any(folder.rglob("*.ts"))


def _regions_of(folder: Path) -> list[str]:
    """The regions of a model, if its files say so in plain words; they are read with care when the model is loaded."""
    try:
        if (folder / "configs" / "metadata.json").is_file():
            content = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
            channels = content["network_data_format"]["outputs"]["pred"]["channel_def"]
            found = [channels[key] for key in sorted(channels, key=int)][1:]
        else:
            found = json.loads((folder / "run.json").read_text(encoding="utf-8"))["regions"]
        return [str(name) for name in found] if isinstance(found, list) else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
