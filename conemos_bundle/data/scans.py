"""The scans that inference is asked to segment: files, DICOM folders, or folders of either."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.data.channel_files import ScanFiles, group_channels
from conemos_bundle.data.results import earlier_result, made_of, output_files, results_beside
from conemos_bundle.errors import UserError, printable
from conemos_bundle.files import sweep
from conemos_bundle.volumes import EXTENSIONS, has_extension, has_header, read_geometry
from conemos_bundle.volumes.dicom import check_series, part_problems
from conemos_bundle.volumes.dicom_files import is_dicom, is_seg
from conemos_bundle.volumes.fingerprints import file_contents
from conemos_bundle.volumes.seg_nrrd import is_seg_nrrd
from pydicom import Dataset


def find_scans(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None, channels: int = 1
) -> list[dict[str, Any]]:
    """Find the scans at ``source`` and check their headers; no voxel is read (`CheckScand` looks at those).

    `LoadImageScand` reads every item as ``(C, D, H, W)`` with its affine in RAS.

    Args:
        source: one path or several, each a scan file (``EXTENSIONS``), a folder that holds one DICOM series (in it or
            in its folders), or a folder of scan files and DICOM folders (one level deep; hidden files, segmentations
            called ``.seg.nrrd`` and results are left out); None: no scan, for hosts that bring their own.
        channels: that the network takes. Files of one channel each may be one scan of it: see `group_channels`.

    Returns:
        one dictionary per scan, sorted by name: ``image`` (absolute path of the file or DICOM folder; a list of them,
        one per channel) and ``name`` (unique: scans of the same name get the names of their folders in front). Of
        several scans, those that cannot be used have a ``problem``, so that the others can be segmented.

    Raises:
        UserError: no scan at all, or, of one scan alone: nothing there, an unknown extension, a header that cannot be
            read, a 2D image, colors or vectors, a DICOM folder that is not one regular series, other channels.
    """
    if source is None:
        return []
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not sources or not all(str(path) for path in sources):
        raise UserError("no scan given: name a scan file, a DICOM folder, or a folder of them")
    problems: dict[Path, str] = {}
    paths: list[Path] = []
    for each in dict.fromkeys(Path(os.path.abspath(Path(path).expanduser())) for path in sources):
        try:
            paths += _scans_at(each)
        except UserError as error:  # of several paths, one that leads nowhere does not end the others
            problems[each] = str(error)
            paths.append(each)
    paths = list(dict.fromkeys(paths))  # a scan named twice is one scan
    found: dict[Path, int] = {}
    series: dict[Path, list[Dataset]] = {}
    for path in (path for path in paths if path not in problems):
        try:
            _reject_name(path)
            if path.is_dir():
                series[path], found[path] = check_series(path), 1
            else:
                found[path] = _channels(path)
        except UserError as error:
            problems[path] = str(error)
    problems.update(part_problems(series))
    listed = all(Path(path).expanduser().is_file() for path in sources)
    scans = group_channels(paths, channels, lambda path: path in problems or found[path] == 1, listed)
    items: list[dict[str, Any]] = []
    names = _distinct_names(scans)
    for scan, name in zip(scans, names, strict=True):
        files = [str(file) for file in scan.files]
        problem = next((problems[file] for file in scan.files if file in problems), scan.problem)
        if not problem and names.count(name) > 1:
            problem = f"{files[0]}: another scan is called {scan.name} too; rename one of them"
            name = scan.files[0].name
        if problem and len(scans) == 1:
            raise UserError(problem)
        item = {"image": files[0] if len(files) == 1 else files, "name": name}
        items.append({**item, "problem": problem} if problem else item)
    return sorted(items, key=lambda item: item["name"])


def reject_no_scans(items: Sequence[dict[str, Any]]) -> None:
    """Called before inference runs: without it, a forgotten ``dataset_dir`` would end with exit code 0 and no output.

    Raises:
        UserError: there is no scan.
    """
    if not items:
        raise UserError("no scan given: pass --dataset_dir with a scan file, a DICOM folder, or a folder of them")


def unfinished_scans(
    items: Sequence[dict[str, Any]],
    output_dir: str | os.PathLike[str],
    regions: Sequence[str],
    output_format: str = "files",
    made_by: Mapping[str, Any] | None = None,
    probabilities: bool = False,
) -> list[dict[str, Any]]:
    """Those of ``items`` that `SaveImageRegionsd` has not written these regions of: a batch goes on where it was cut.

    A scan counts as done where ``<name>_volumes.json`` names its file, and all that would be written is there, made by
    the same model in the same way of a scan that has not changed since. Those that are done are printed.

    Args:
        items: as `find_scans` gives them.
        output_dir: where the regions go.
        regions: those asked for.
        output_format: that asked for.
        made_by: of `model_and_settings`.
        probabilities: whether each region's is asked for too.

    Raises:
        UserError: there is no scan.
    """
    reject_no_scans(items)
    sweep(output_dir)

    def done(item: dict[str, Any]) -> bool:
        first = item["image"] if isinstance(item["image"], str) else item["image"][0]
        earlier = earlier_result(output_dir, item["name"])
        files = output_files(output_dir, item["name"], regions, output_format, probabilities)
        made = made_of(file_contents(item["image"]), made_by)
        there = all(Path(file).exists() for file in earlier.get("contents", []))  # else what it says is out of date
        return (earlier.get("image") == first and there) and all(
            _is_whole(file)
            and _same_regions(file, earlier["contents"].get(file, []), held)
            and earlier["made"].get(file) == made
            and all(earlier.get("sizes_of", {}).get(region, made) == made for region in held)
            for file, held in files.items()
        )

    found = {item["name"]: done(item) for item in items}
    print("".join(f"{printable(name)}: done already\n" for name in found if found[name]), end="", flush=True)
    return [item for item in items if not found[item["name"]]]


def _same_regions(file: str, there: Sequence[str], asked: Sequence[str]) -> bool:
    """Channels and segments stand in the order asked for; a label map has values of its own."""
    in_order = file.endswith(("_regions.nii.gz", "_regions.json", ".seg.dcm"))
    return list(there) == list(asked) if in_order else sorted(there) == sorted(asked)


def _is_whole(file: str) -> bool:
    """Whether a result is there; one that its user has edited is."""
    if file.endswith(".seg.dcm"):
        return is_seg(Path(file))
    return Path(file).exists() and (file.endswith(".json") or has_header(file))


def _scans_at(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; name a scan file, a DICOM folder, or a folder of them")
    if path.is_dir():
        return _scans_in(path)
    if not has_extension(path):
        hint = "give the folder that holds its series" if is_dicom(path) else f"use one of {', '.join(EXTENSIONS)}"
        raise UserError(f"{path}: not a scan file by its extension; {hint}")
    if is_seg_nrrd(path):
        raise UserError(f"{path}: a segmentation by its name (.seg.nrrd), no scan; give the scan")
    return [path]


def _scans_in(folder: Path) -> list[Path]:
    """``folder`` itself where it holds DICOM files, else the scan files and DICOM folders in it."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    for place in (folder, *entries):
        if place.is_dir() and has_extension(place):  # MONAI would take it for a file
            raise UserError(f"{place}: a folder that is named like an image; rename it, or give the file in it")
    written = _results_in(folder, entries)
    entries = [entry for entry in entries if entry not in written]
    scans = [entry for entry in entries if entry.is_file() and has_extension(entry) and not is_seg_nrrd(entry)]
    if _holds_dicom(entries):
        if scans:
            raise UserError(f"{folder}: holds DICOM files and {scans[0].name}; give the DICOM series its own folder")
        return [folder]
    folders = [entry for entry in entries if entry.is_dir()]
    # who may not look into a folder is told that, instead of missing its scan
    scans += [entry for entry in folders if not _is_readable(entry) or _holds_dicom(sorted(entry.iterdir()))]
    if not scans:
        raise UserError(f"{folder}: no scan in this folder; it takes {', '.join(EXTENSIONS)} files or DICOM folders")
    return scans


def _results_in(folder: Path, entries: Sequence[Path]) -> set[Path]:
    """The files among ``entries`` that inference wrote there, of which nobody wants regions."""
    suffix = "_volumes.json"
    names = [entry.name.removesuffix(suffix) for entry in entries if entry.name.endswith(suffix)]
    return {file for name in names for file in results_beside(folder, name)}


def _holds_dicom(entries: Sequence[Path]) -> bool:
    """Whether there are DICOM files that are not all segmentations, as in a folder of results."""
    files = (entry for entry in entries if entry.is_file() and not has_extension(entry))
    return any(is_dicom(file) and not is_seg(file) for file in files)


def _is_readable(path: Path) -> bool:
    return os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK)


def _reject_name(path: Path) -> None:
    if path.exists() and not _is_readable(path):
        raise UserError(f"{path}: no permission to read it")
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{path}: its name, or a folder's, is no text in UTF-8; rename it, or start with PYTHONUTF8=1 set"
        ) from error


def _channels(path: Path) -> int:
    """How many channels a scan has, by its header, which is checked."""
    geometry = read_geometry(path)
    if 1 in geometry.shape:
        size = [*geometry.shape, *([geometry.channels] if geometry.channels > 1 else [])]
        raise UserError(f"{path}: a 2D image of {' x '.join(str(length) for length in size)}; give a 3D scan")
    return geometry.channels


def _distinct_names(scans: Sequence[ScanFiles]) -> list[str]:
    names, paths = [scan.name for scan in scans], [scan.files[0] for scan in scans]
    for depth in range(max(len(path.parts) for path in paths) - 1):
        counts = Counter(names)
        names = [
            f"{path.parents[depth].name}_{name}" if counts[name] > 1 and depth < len(path.parents) else name
            for path, name in zip(paths, names, strict=True)
        ]
    return names
