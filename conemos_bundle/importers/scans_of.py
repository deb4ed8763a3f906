"""The scans of a folder, whatever kind of data set it is."""

from __future__ import annotations

import re
from pathlib import Path

from conemos_bundle.data.datalist import MaskSource
from conemos_bundle.data.time_points import BIDS, subject_pattern
from conemos_bundle.errors import UserError
from conemos_bundle.importers.folders import ImportedDataset, from_csv, from_folders, subject_finder
from conemos_bundle.importers.nnunet import from_decathlon, from_nnunet, read_dataset_json
from conemos_bundle.importers.segmentations import from_segmentations
from conemos_bundle.utils.records import one_line
from pydantic import ValidationError


def look_for_time_points(found: ImportedDataset) -> None:
    """Where names look like several times of one patient: take BIDS's subjects, and suggest others."""
    lists = [found.unsplit, *found.split.values()]  # a patient may have scans in both
    pattern = subject_pattern(sorted({scan.subject for scans in lists for scan in scans}))
    if pattern is None or found.says_subjects:
        return
    if pattern != BIDS:
        found.notes.append(
            "note: the names look like several times of one patient, yet each counts as a subject of its own, and a "
            f"patient may be in two splits; if so, pass --subject '{pattern}'"
        )
        return
    for scans in lists:
        for index, scan in enumerate(scans):
            if match := re.search(BIDS, scan.subject):
                scans[index] = scan.model_copy(update={"subject": match[1]})
    found.notes.append(f"subjects: by BIDS, the names' sub-… (--subject '{BIDS}')")


def ignore_values(found: ImportedDataset, values: object) -> None:
    """Let the masks of all scans ignore the voxels of these values."""
    if values is None:
        return
    listed = list(values) if isinstance(values, list | tuple) else [values]
    for scan in (scan for scans in (found.unsplit, *found.split.values()) for scan in scans):
        for region in scan.masks:
            source = scan.source(region)
            if source.file is None:
                continue
            try:
                scan.masks[region] = MaskSource.model_validate(
                    {**source.model_dump(exclude_none=True), "ignore": sorted({*(source.ignore or []), *listed})}
                )
            except (ValidationError, TypeError) as error:
                reason = one_line(error) if isinstance(error, ValidationError) else "pass integers"
                raise UserError(f"--ignore {values}: {reason}") from error


def split_fractions(validation: float, test: float) -> dict[str, float]:
    """The part of the subjects in each split, in [0, 1).

    Raises:
        UserError: they leave no subject for training.
    """
    for option, part in (("validation", validation), ("test", test)):
        if type(part) not in (int, float) or not 0 <= part < 1:
            raise UserError(f"--{option} {part}: pass a part of the subjects, at least 0 and below 1")
    if validation + test >= 1:
        raise UserError(f"--validation {validation} --test {test}: together they leave no subject for training")
    return {"training": 1 - validation - test, "validation": validation, "test": test}


def guess_kind(folder: Path, csv: str | None) -> str:
    """Which kind of data set a folder looks like.

    Raises:
        UserError: like none.
    """
    if csv is not None:
        return "csv"
    if (folder / "dataset.json").is_file():
        return "decathlon" if "training" in read_dataset_json(folder) else "nnunet"
    if (folder / "masks").is_dir():
        return "folders"
    if (folder / "segmentations").is_dir():
        return "segmentations"
    raise UserError(
        f"{folder}: holds neither a folder 'masks' nor dataset.json nor a folder 'segmentations'; with label maps pass "
        "--csv TABLE, or say --kind folders|decathlon|nnunet|csv|segmentations"
    )


def import_scans(
    folder: Path, root: Path, kind: str, csv: str | None, regions: object, subject: str | None
) -> ImportedDataset:
    """Find the scans and masks of a data set.

    Args:
        folder: of the data set.
        root: that the datalist's paths shall start at.
        kind: ``folders``, ``decathlon``, ``nnunet``, ``csv`` or ``segmentations``.
        csv: table of what is annotated, for ``csv`` alone.
        regions: label values of each region, or the regions' names.
        subject: regular expression whose one group is the subject in a scan's name.

    Raises:
        UserError: something in the source or the options is wrong.
    """
    finder = subject_finder(subject)
    if kind == "csv":
        return from_csv(folder, root, None if subject is None else finder, regions, str(csv))
    importers = {
        "folders": from_folders,
        "segmentations": from_segmentations,
        "decathlon": from_decathlon,
        "nnunet": from_nnunet,
    }
    return importers[kind](folder, root, finder, regions)
