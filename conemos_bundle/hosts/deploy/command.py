"""One run: from the options to the files of the results, or to a refusal."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.files import other_parts, part_folder, publish, reject_unwritable
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.hosts.deploy.report import SEG, make_report
from conemos_bundle.inferers import asked_regions
from conemos_bundle.predictor import Predictor
from conemos_bundle.volumes.dicom_seg import check_images
from conemos_bundle.volumes.dicom_seg_tags import fill_missing_tags
from conemos_bundle.volumes.region_codes import TABLE, read_table, region_code
from pydicom import dcmread

REPORT = "report.json"
UNFINISHED = ".unfinished"  # where it is, the results are of a run that was cut: the next one takes their place


def segment(options: argparse.Namespace) -> dict[str, Any]:
    """Segment one series; everything that can be wrong with the input is found before the network runs.

    Returns:
        the report.

    Raises:
        UserError: something in the input or the options is wrong; nothing has been written then.
    """
    folder, output = Path(options.input).expanduser(), Path(options.output).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of one DICOM series")
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: is a file; give a folder as --output")
    with staging(output) as staged:
        _reject_earlier_results(output)
        return _segment_into(staged, options, folder, output)


def _segment_into(staged: Path, options: argparse.Namespace, folder: Path, output: Path) -> dict[str, Any]:
    table = read_table(Path(options.codes).expanduser() if options.codes else TABLE)
    named = [name.strip() for name in options.regions.split(",")] if options.regions else None
    predictor = Predictor.load(options.model, options.device, mode=None, regions=named)
    regions = asked_regions(named, predictor.regions)
    datasets = find_series(folder, predictor.modality, options.series)
    filled = fill_missing_tags(datasets)
    check_images(datasets)
    codes = [region_code(region, predictor.regions, table) for region in regions]

    application_class = _import_application(options.log_level)
    application = application_class(
        datasets=datasets, predictor=predictor, regions=regions, codes=codes, output_folder=staged
    )
    application.run()
    if not (staged / SEG).is_file() or not application.sizes:  # Holoscan can end early without an exception
        raise RuntimeError("the application ended before it had written everything; see --log-level INFO")
    overlap = str(dcmread(staged / SEG, stop_before_pixels=True).SegmentsOverlap)
    report = make_report(datasets, predictor, regions, codes, application.sizes, overlap, filled)
    (staged / REPORT).write_text(json.dumps(report, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    (output / UNFINISHED).touch()
    for file in (SEG, *(entry["mask"] for entry in report["regions"].values()), REPORT):
        publish(staged / file, output / file)
    (output / UNFINISHED).unlink()
    return report


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """A hidden folder in ``output``, on the same disk; it goes again, and so does ``output`` if it stays empty.

    Raises:
        UserError: ``output`` cannot be written to, or another process is writing there.
    """
    existed = output.is_dir()
    reject_unwritable(output)
    try:
        with part_folder(output) as staged:
            if other_parts(staged):
                raise UserError(f"{output}: another process is writing there; wait for it, or give another --output")
            yield staged
    finally:
        if not existed and not any(output.iterdir()):
            output.rmdir()


def summary(report: dict[str, Any], output: Path) -> str:
    """What a person reads in the terminal."""
    lines = [f"series {report['series']['SeriesInstanceUID']}: {report['series']['images']} images"]
    if report["series"]["tags_filled"]:
        lines.append(f"  tags that were missing or unreadable: {', '.join(report['series']['tags_filled'])}")
    for region, entry in report["regions"].items():
        code = entry["code"]
        name = ", ".join([code["meaning"], *([code["modifier"]] if "modifier" in code else [])])
        size = f"{entry['voxels']} voxels, {entry['volume_ml']:.3f} ml"
        lines.append(f"  {entry['segment']} {region}: {size} ({code['scheme']} {code['value']}, {name})")
    overlap = report["segmentation"]["segments_overlap"]
    lines.append(f"  {output / SEG} (SegmentsOverlap {overlap}), {output / 'masks'}, {output / REPORT}")
    return "\n".join(lines)


def _reject_earlier_results(output: Path) -> None:
    if (output / UNFINISHED).exists():
        for name in (SEG, REPORT):
            (output / name).unlink(missing_ok=True)
        shutil.rmtree(output / "masks", ignore_errors=True)
    earlier = [name for name in (REPORT, SEG, "masks") if (output / name).exists()]
    if earlier:
        raise UserError(f"{output / earlier[0]}: from an earlier run; give another --output, or remove it")


def _import_application(log_level: str) -> Any:
    """The application's class: the rest of this module is tested without the SDK, so it is imported here."""
    logging.basicConfig(level=log_level, format="%(levelname)s %(name)s: %(message)s", force=True)
    try:
        from conemos_bundle.hosts.deploy.application import SegmentRegions
    except ImportError as error:
        raise UserError(
            f"the MONAI Deploy App SDK cannot be imported ({error}); run scripts/setup_deploy.sh"
        ) from error
    return SegmentRegions
