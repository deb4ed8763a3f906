"""What inference writes for a scan, and what it wrote there before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.names import RegionName
from conemos_bundle.utils.records import PathText, Strict, read_as
from conemos_bundle.volumes.fingerprints import fingerprint
from pydantic import ConfigDict, Field

_ENDINGS = {  # of the files beside ``<name>_volumes.json``, by output format
    "seg.nrrd": [".seg.nrrd"],
    "dicom_seg": [".seg.dcm"],
    "multichannel": ["_regions.nii.gz", "_regions.json"],
    "labelmap": ["_labelmap.nii.gz"],
}


class _Result(Strict):
    """``<name>_volumes.json``; whoever wrote it, its files are named and looked for, never read."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    image: PathText
    contents: dict[PathText, list[RegionName]]
    regions: dict[RegionName, dict[str, bool | int | float | str | None]]
    made: dict[PathText, str] = Field(default_factory=dict)
    sizes_of: dict[RegionName, str] = Field(default_factory=dict)


def absolute(folder: str | os.PathLike[str]) -> Path:
    """The folder as the files in it are known: absolute, without ``~`` and ``..``."""
    return Path(os.path.abspath(Path(folder).expanduser()))


def made_of(contents: Sequence[str], made_by: Mapping[str, Any] | None) -> str:
    """A hash of what `file_contents` says of a scan and `model_and_settings` of how it is segmented."""
    return fingerprint(made_by, list(contents))


def output_files(
    output_dir: str | os.PathLike[str],
    name: str,
    regions: Sequence[str],
    output_format: str,
    probabilities: bool = False,
) -> dict[str, list[str]]:
    """The files of a scan, absolute, and which regions each holds.

    Args:
        output_dir: where the regions go.
        name: the scan's.
        regions: those asked for.
        output_format: of `SaveImageRegionsd`.
        probabilities: those of each region too, behind the masks.
    """
    folder = absolute(output_dir)
    sure = {str(folder / name / f"{r}_probability.nii.gz"): [r] for r in regions} if probabilities else {}
    if output_format == "files":
        return {**{str(folder / name / f"{region}.nii.gz"): [region] for region in regions}, **sure}
    files = [str(folder / f"{name}{ending}") for ending in _ENDINGS[output_format]]
    return {**{file: list(regions) for file in files}, **sure}


def volumes_file(output_dir: str | os.PathLike[str], name: str) -> Path:
    """``<name>_volumes.json``, absolute."""
    return absolute(output_dir) / f"{name}_volumes.json"


def earlier_result(output_dir: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """What ``<name>_volumes.json`` says: ``image``, ``contents`` and ``regions``; empty where there is none of ours."""
    try:
        result = read_as(_Result, volumes_file(output_dir, name))
    except UserError:
        return {}
    folder = absolute(output_dir)
    contents = {
        file: held for file, held in result.contents.items() if Path(os.path.normpath(file)).is_relative_to(folder)
    }
    return {**result.model_dump(), "contents": contents}


def results_beside(output_dir: str | os.PathLike[str], name: str) -> set[Path]:
    """The files beside ``<name>_volumes.json`` that it names, wherever its folder was when they were written."""
    try:
        result = read_as(_Result, volumes_file(output_dir, name))
    except UserError:
        return set()
    ours = {f"{name}{ending}" for endings in _ENDINGS.values() for ending in endings}
    return {absolute(output_dir) / Path(file).name for file in result.contents if Path(file).name in ours}


def with_earlier(result: dict[str, Any], output_dir: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """The result with the regions and files that an earlier one left of the same scan, and that are still there.

    Raises:
        UserError: what is there is of another scan of that name.
    """
    earlier = earlier_result(output_dir, name)
    kept = {file: held for file, held in earlier.get("contents", {}).items() if Path(file).exists()}
    if kept and os.path.realpath(earlier["image"]) != os.path.realpath(result["image"]):
        raise UserError(
            f"{volumes_file(output_dir, name)}: the regions there are of another scan, {earlier['image']}; "
            "pass another --output, or remove them"
        )
    contents = {**kept, **result["contents"]}
    held = {region for regions in contents.values() for region in regions}
    regions = {region: size for region, size in earlier.get("regions", {}).items() if region in held}
    now, sizes_of = next(iter(result["made"].values()), ""), dict(earlier.get("sizes_of", {}))
    for region, size in result["regions"].items():
        before = dict(regions.get(region, {}))
        before.pop("not_found", None)
        if sizes_of.get(region) != now or not now:  # made in another way: what it said of the mask is out of date
            before = {name: value for name, value in before.items() if name == "value"}
        regions[region] = {**before, **size}
        sizes_of[region] = now
    made = {file: key for file, key in {**earlier.get("made", {}), **result["made"]}.items() if file in contents}
    sizes_of = {region: key for region, key in sizes_of.items() if region in regions and key}
    return {
        **earlier, **result, "outputs": list(contents), "contents": contents, "regions": regions, "made": made,
        "sizes_of": sizes_of,
    }  # fmt: skip
