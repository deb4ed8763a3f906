"""What an evaluation keeps of each scan until all are done, so that one that was cut goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from conemos_bundle.evaluation.montage import PLANES, View
from conemos_bundle.evaluation.slices import Slice, check_slice
from conemos_bundle.evaluation.tables import EvaluatedRegion
from conemos_bundle.files import write_in_one_step
from conemos_bundle.names import region_name
from conemos_bundle.utils.arrays import open_arrays

MOST_BYTES = 2**28  # of the planes of a scan
FOLDER = ".scans"  # in that of the evaluation


@dataclass(frozen=True)
class ScanReport:
    """Of one scan: rows of ``per_scan.csv``; views for the pictures, and a slice, of each region that has some."""

    rows: list[dict[str, Any]]
    views: Mapping[str, tuple[View, ...]]
    slices: Mapping[str, Slice]


def keep(folder: Path, name: str, key: str, report: ScanReport) -> None:
    """Write a scan's report, to be found again under its name and key.

    Raises:
        OutputError: it cannot be written.
    """
    arrays = {f"slice/{region}/{part}": array for region, one in report.slices.items() for part, array in one.items()}
    aspects = {}
    for region, views in report.views.items():
        for i, view in enumerate(views):
            *planes, aspects[f"{region}/{i}"] = astuple(view)
            arrays.update({f"view/{region}/{i}/{k}": plane for k, plane in enumerate(planes)})
    text = json.dumps({"key": key, "rows": report.rows, "aspects": aspects})

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, text=np.array(text), **arrays)  # type: ignore[arg-type]

    write_in_one_step(_file(folder, name), write)


def find(folder: Path, name: str, key: str) -> ScanReport | None:
    """A scan's report, if there is one of this key that can be read."""
    try:
        with open_arrays(_file(folder, name), MOST_BYTES) as file:
            told = json.loads(str(file["text"]))
            if told["key"] != key:
                return None
            views: dict[str, dict[int, View]] = {}
            for place, aspect in told["aspects"].items():
                region, i = place.rsplit("/", 1)
                planes = [file[f"view/{place}/{k}"] for k in range(3)]
                views.setdefault(region_name(region), {})[int(i)] = _view(planes, aspect)
            slices: dict[str, dict[str, np.ndarray]] = {}
            for array in file.files:
                if array.startswith("slice/"):
                    _, region, part = array.split("/")
                    slices.setdefault(region, {})[part] = file[array]
            rows = [EvaluatedRegion.model_validate(row).model_dump() for row in told["rows"]]
            if any(row["scan"] != name for row in rows) or any(len(one) != len(PLANES) for one in views.values()):
                return None
            return ScanReport(
                [{key: np.nan if value is None else value for key, value in row.items()} for row in rows],
                {region: tuple(one[i] for i in sorted(one)) for region, one in views.items()},
                {region_name(region): check_slice(one) for region, one in slices.items()},
            )
    except Exception:  # NumPy raises whatever it likes on a broken file: the scan is evaluated again
        return None


def _view(planes: list[np.ndarray], aspect: float) -> View:
    image = planes[0]
    one_shape = image.ndim == 2 and image.size > 0 and {plane.shape for plane in planes} == {image.shape}
    if not one_shape or any(plane.dtype.kind not in "bu" for plane in planes) or not 0 < float(aspect) < np.inf:
        raise ValueError("no image and two masks of one shape")
    return View(image, planes[1], planes[2], float(aspect))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.npz"
