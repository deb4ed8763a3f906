"""The report of `conemos predict`: pictures, volumes, what was not found, how it was made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from conemos_bundle.data.results import absolute, earlier_result, output_files
from conemos_bundle.errors import UserError
from conemos_bundle.reports.page import MOST_ROWS, REPORT, write_page
from conemos_bundle.reports.pictures import MOST_LETTERS
from conemos_bundle.reports.scan_pictures import Plane, draw_planes, mask_sources, region_colors, scan_file

_PIXELS = ((4, 420), (12, 300), (10**9, 220))  # up to so many scans, the width of a plane


class RegionRow(NamedTuple):
    """A region of a scan as the page shows it; ``note`` says what is odd."""

    region: str
    volume_ml: float | None
    voxels: int | None
    confidence: float | None
    note: str


class ScanRow(NamedTuple):
    """A scan as the page shows it; ``problem`` says why there is no mask."""

    name: str
    file: str
    problem: str
    regions: list[RegionRow]
    planes: list[Plane]
    no_picture: str

    @property
    def has_note(self) -> bool:
        """Whether anything is odd about a region."""
        return any(each.note for each in self.regions)


def write_prediction_report(
    output_dir: str | Path,
    scans: Sequence[Mapping[str, Any]],
    regions: Sequence[str],
    settings: Mapping[str, str],
    failed: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    output_format: str = "files",
) -> Path:
    """Write ``report.html`` into the folder of the masks, from what lies there.

    Args:
        output_dir: where `segment_scans` wrote.
        scans: as `find_scans` gives them.
        regions: those that were asked for.
        settings: what the masks depend on, by the words to show.
        failed: the scans that could not be segmented, by name, and why.
        warnings: what was told meanwhile.
        output_format: of the masks.

    Returns:
        its path.

    Raises:
        OutputError: it cannot be written.
    """
    outside = [absolute(output_dir), *{Path(file).parent for item in scans for file in _files(item)}]
    failed = {name: _without(why, outside) for name, why in (failed or {}).items()}
    colors = region_colors(regions)
    pixels = next(width for most, width in _PIXELS if len(scans) <= most)
    left, rows = MOST_LETTERS, []
    for item in scans[:MOST_ROWS]:
        row = _scan_row(item, output_dir, regions, failed)
        if not row.problem and left > 0:
            row = _with_planes(row, item, output_dir, output_format, colors, pixels)
            row = row._replace(no_picture=_without(row.no_picture, outside))
            left -= sum(len(plane.uri) for plane in row.planes)
        elif not row.problem:
            row = row._replace(no_picture="No picture: a report stays small enough to be sent.")
        rows.append(row)
    return write_page(
        absolute(output_dir) / REPORT,
        "predicted",
        scans=rows,
        in_all=len(scans),
        segmented=len(scans) - len(failed),
        regions=list(regions),
        colors=colors,
        settings=dict(settings),
        warnings=[_without(line, outside) for line in warnings],
        has_confidence=any(each.confidence is not None for row in rows for each in row.regions),
        has_remark=any(row.problem or row.has_note for row in rows),
        odd=sum(bool(each.note) for row in rows for each in row.regions),
    )


def _files(item: Mapping[str, Any]) -> list[str]:
    return [item["image"]] if isinstance(item["image"], str) else list(item["image"])


def _without(line: str, folders: Sequence[Path]) -> str:
    """A line without the folders of this machine, whose names may be a patient's."""
    for folder in sorted({str(each) for each in folders} - {os.sep}, key=len, reverse=True):
        line = line.replace(os.path.join(folder, ""), "").replace(folder, Path(folder).name)
    return line


def _scan_row(
    item: Mapping[str, Any], output_dir: str | Path, regions: Sequence[str], failed: Mapping[str, str]
) -> ScanRow:
    name, file = str(item["name"]), scan_file(item["image"])
    if name in failed:
        return ScanRow(name, file, failed[name], [], [], "")
    sizes = earlier_result(output_dir, name).get("regions", {})
    return ScanRow(name, file, "", [_region_row(region, sizes.get(region, {})) for region in regions], [], "")


def _region_row(region: str, size: Mapping[str, Any]) -> RegionRow:
    """Whoever wrote the file: what is no number is left out."""
    volume, voxels, sure = (
        value if type(value := size.get(key)) in (int, float) else None for key in ("volume_ml", "voxels", "confidence")
    )
    notes = ["not found"] if voxels == 0 else [] if voxels is not None else ["no size on record"]
    if size.get("not_found"):
        notes.append(f"looked for in the whole scan: no {size['not_found']} was found")
    return RegionRow(region, volume, voxels, sure, "; ".join(notes))


def _with_planes(
    row: ScanRow,
    item: Mapping[str, Any],
    output_dir: str | Path,
    output_format: str,
    colors: Mapping[str, str],
    pixels: int,
) -> ScanRow:
    sizes = earlier_result(output_dir, row.name).get("regions", {})
    files = output_files(output_dir, row.name, list(colors), output_format)
    try:
        return row._replace(planes=draw_planes(item["image"], mask_sources(files, sizes), colors, pixels))
    except (UserError, KeyError) as error:  # edited or removed meanwhile
        return row._replace(no_picture=f"No picture: {error}")
