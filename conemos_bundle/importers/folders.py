"""Find the scans and masks of a data set that has no datalist yet: folders of masks, or label maps with a CSV.

`nnunet` reads the Medical Decathlon's and nnU-Net's folders. Each importer gives a `ImportedDataset`;
`conemos_bundle.importers.split` divides what its source does not divide.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from csv import Error as CSVError
from csv import reader
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from conemos_bundle.data.datalist import MaskSource, Scan, make_scan, scan_name
from conemos_bundle.errors import UserError
from conemos_bundle.names import check_region_names
from conemos_bundle.utils.records import one_line, read_text
from conemos_bundle.volumes import EXTENSIONS, data_files, has_extension
from pydantic import ValidationError

CSV_SPLITS = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclass
class ImportedDataset:
    """What an importer found: regions, scans per split (``unsplit``: the source does not say), notes for the user."""

    regions: list[str]
    unsplit: list[Scan] = field(default_factory=list)
    split: dict[str, list[Scan]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)  # name, description, … of the data set, where the source says
    says_subjects: bool = False  # they are the source's, not taken from names


def relative_path(file: Path, root: Path) -> str:
    """``file`` relative to ``root``, with forward slashes.

    Raises:
        UserError: the file lies outside.
    """
    relative = Path(os.path.relpath(file, root)).as_posix()
    if relative.split("/")[0] == "..":
        raise UserError(f"{file}: lies outside {root}; pass --dataset_dir with a folder that holds the whole data set")
    return relative


def image_files(folder: Path) -> dict[str, Path]:
    """The NIfTI, NRRD and MetaImage files of a folder by scan name, sorted; hidden files and other kinds are left out.

    Raises:
        UserError: no such folder, no such files, or two with one name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if has_extension(file) and not file.name.startswith("."):
            other = files.setdefault(scan_name(file.name), file)
            if other != file:
                raise UserError(f"{file}: has the same name as {other.name}; keep one, or rename it")
    if not files:
        raise UserError(f"{folder}: no images ({', '.join(EXTENSIONS)})")
    return files


def subject_finder(pattern: str | None) -> Callable[[str], str]:
    """A function from a scan's name to its subject: the pattern's group, or the whole name without a pattern.

    Raises:
        UserError: the pattern is no regular expression with one group, or (from the function) a name does not match.
    """
    if pattern is None:
        return lambda name: name
    try:
        compiled = re.compile(str(pattern))
    except re.error as error:
        raise UserError(f"--subject {pattern}: not a regular expression ({error})") from error
    if compiled.groups != 1:
        raise UserError(f"--subject {pattern}: has {compiled.groups} groups; put the subject's part in one pair of ( )")

    def find(name: str) -> str:
        match = compiled.search(name)
        if not match or not match.group(1):
            raise UserError(f"scan {name}: --subject {pattern} finds no subject in this name")
        return match.group(1)

    return find


def region_values(regions: object) -> dict[str, list[int]]:
    """The label values of each region, from ``{"kidneys": [2, 3], "liver": 1}``.

    Raises:
        UserError: not a dictionary from names to integers or lists of integers.
    """
    if not isinstance(regions, dict) or not regions:
        raise UserError(
            "--regions: pass the label values of each region, as in --regions \"{'kidneys': [2, 3], 'liver': [1]}\""
        )
    check_region_names(list(regions), "--regions")
    found = {}
    for name, values in regions.items():
        values = list(values) if isinstance(values, list | tuple) else [values]
        if not values or not all(type(value) is int for value in values):
            raise UserError(
                f"--regions: the label values of {name!r} are {values}; they must be integers, at least one"
            )
        found[name] = values
    return found


def label_masks(
    file: str, values: dict[str, list[int]], ignore: Sequence[int] | None = None
) -> dict[str, str | MaskSource]:
    """The mask of each region in the label map ``file``, whose voxels of the values ``ignore`` are ignored.

    Raises:
        UserError: a datalist cannot hold the file's name.
    """
    ignored = list(ignore) if ignore else None
    return {region: mask_source(file=file, values=list(wanted), ignore=ignored) for region, wanted in values.items()}


def mask_source(file: str, **fields: Any) -> MaskSource:
    """A `MaskSource` of a file that was found.

    Raises:
        UserError: a datalist cannot hold the file's name.
    """
    try:
        return MaskSource(file=file, **fields)
    except ValidationError as error:
        raise UserError(f"{file!r}: {one_line(error)}; rename it") from error


def from_folders(source: Path, root: Path, subject: Callable[[str], str], regions: object = None) -> ImportedDataset:
    """SOURCE/images/* and SOURCE/masks/<region>/<name of the image>; where a mask is missing the region is unknown.

    Args:
        source: the folder with ``images`` and ``masks``.
        root: where the paths of the datalist start.
        subject: gives the subject of a scan's name.
        regions: the folders of ``masks`` to take, in paint order; default: all, sorted.

    Raises:
        UserError: a folder is missing or empty, a mask matches no image, a region has no folder.
    """
    images = image_files(source / "images")
    masks_dir = source / "masks"
    if not masks_dir.is_dir():
        raise UserError(f"{masks_dir}: no such folder; put the masks in {masks_dir}/<region>/")
    entries = sorted(entry for entry in masks_dir.iterdir() if not entry.name.startswith("."))
    folders = {entry.name: entry for entry in entries if entry.is_dir()}
    if stray := [entry for entry in entries if not entry.is_dir()]:
        raise UserError(f"{stray[0]}: a mask must lie in the folder of its region, {masks_dir}/<region>/")
    if not folders:
        raise UserError(f"{masks_dir}: no folder of a region in it; put the masks in {masks_dir}/<region>/")
    if isinstance(regions, dict):
        raise UserError("--regions: folders of masks have no label values; pass a list of names, or nothing")
    asked = list(folders) if regions is None else list(regions) if isinstance(regions, list | tuple) else [regions]
    wanted = check_region_names(asked, str(masks_dir) if regions is None else "--regions")
    of_region = {unicodedata.normalize("NFC", name): folder for name, folder in folders.items()}  # macOS composes not
    for name in wanted:
        if name not in of_region:
            raise UserError(f"{masks_dir / name}: no such folder, but --regions names {name!r}")
    masks: dict[str, dict[str, str | MaskSource]] = {name: {} for name in images}
    for region in wanted:
        files = sorted(file for file in of_region[region].iterdir() if not file.name.startswith("."))
        voxels = {other.resolve() for file in files for other in data_files(file)[1:]}  # of .mhd and .nhdr
        for file in files:
            name = scan_name(file.name)
            if file.resolve() in voxels:
                continue
            if name not in images or not has_extension(file):
                raise UserError(
                    f"{file}: this mask matches no image in {source / 'images'}; name it as its image, or remove it"
                )
            if region in masks[name]:
                raise UserError(f"{file}: a second mask of this scan and region; keep one")
            masks[name][region] = relative_path(file, root)
    scans = [make_scan(relative_path(file, root), subject(name), masks[name]) for name, file in images.items()]
    return ImportedDataset(regions=wanted, unsplit=scans)


def from_csv(
    source: Path, root: Path, subject: Callable[[str], str] | None, regions: object, csv: str
) -> ImportedDataset:
    """Label maps SOURCE/labels/<scan>.*, images SOURCE/images/<scan>.*, and a table of what is annotated.

    The table's columns: ``scan``; ``split`` (train, validation or test; may be missing); ``subject`` (may be missing);
    one per region with 1 (annotated), 0 or nothing (unknown), or ``absent`` (known not to be there).

    Args:
        source: the folder with ``images`` and ``labels``.
        root: where the paths of the datalist start.
        subject: gives the subject of a scan's name; None: the column, or the scan's name.
        regions: label values of each region.
        csv: the table; looked for as given, then in ``source``.

    Raises:
        UserError: the table cannot be read, names unknown columns, splits or scans, or a scan twice, or has another
            entry.
    """
    values = region_values(regions)
    columns, table, path = _read_table(source, csv)
    for column in columns:
        if column not in ("scan", "split", "subject", *values):
            raise UserError(
                f"{path}: column {column[:60]!r} is neither 'scan', 'split', 'subject' nor a region of --regions"
            )
        if columns.count(column) > 1:
            raise UserError(f"{path}: has the column {column!r} twice")
    for column in ("scan", *values):
        if column not in columns:
            raise UserError(f"{path}: has no column {column!r}")
    images = image_files(source / "images")
    labels = image_files(source / "labels")
    found = ImportedDataset(regions=list(values), says_subjects=subject is None and "subject" in columns)
    often = Counter(row["scan"] for row in table)
    for number, row in enumerate(table, start=2):
        name, where = row["scan"], f"{path}, row {number}"
        if often[name] > 1:
            raise UserError(f"{where}: scan {name[:60]!r} is listed twice")
        if name not in images:
            raise UserError(f"{where}: scan {name[:60]!r} has no image {source / 'images' / name[:60]}.*")
        if wrong := [region for region in values if row[region].lower() not in ("0", "1", "", "absent")]:
            raise UserError(
                f"{where}: {wrong[0]!r} is {row[wrong[0]]!r}; write 1 (annotated), 0 or nothing (unknown), or absent"
            )
        annotated = {region: values[region] for region in values if row[region] == "1"}
        if annotated and name not in labels:
            raise UserError(f"{where}: scan {name!r} is annotated, but has no label map {source / 'labels' / name}.*")
        its_subject = subject(name) if subject else row.get("subject", name)
        if not its_subject:
            raise UserError(f"{where}: scan {name!r} has no subject")
        masks = label_masks(relative_path(labels[name], root), annotated) if annotated else {}
        masks |= {region: MaskSource(absent=True) for region in values if row[region].lower() == "absent"}
        scan = make_scan(relative_path(images[name], root), its_subject, masks)
        if "split" not in columns:
            found.unsplit.append(scan)
        elif row["split"] in CSV_SPLITS:
            found.split.setdefault(CSV_SPLITS[row["split"]], []).append(scan)
        else:
            raise UserError(f"{where}: split {row['split']!r}: write one of {', '.join(CSV_SPLITS)}")
    if left_out := sorted(set(images) - set(often)):
        found.notes.append(f"{path} does not list {len(left_out)} of the images (first {left_out[0]}): left out")
    return found


def _read_table(source: Path, csv: str) -> tuple[list[str], list[dict[str, str]], Path]:
    """Columns, rows, and where the table is."""
    path = Path(csv).expanduser()
    path = path if path.exists() else source / csv
    text = read_text(path, " this table").removeprefix("\ufeff")
    if "\0" in text:
        raise UserError(f"{path}: cannot read this table (a NUL character)")
    try:
        lines = [[cell.strip() for cell in line] for line in reader(StringIO(text, newline=""), strict=True) if line]
    except CSVError as error:
        raise UserError(f"{path}: cannot read this table ({error})") from error
    if not lines:
        raise UserError(f"{path}: cannot read this table (No columns: it is empty)")
    if len(lines) < 2:
        raise UserError(f"{path}: lists no scan")
    header = lines[0]
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise UserError(
                f"{path}: cannot read this table (row {number} has {len(line)} cells, the header {len(header)})"
            )
    return header, [dict(zip(header, line, strict=True)) for line in lines[1:]], path
