"""`conemos datalist`: write a datalist for a data set that lies in a folder."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd
from conemos_bundle.data.absent import check_empty_option, declare_absent
from conemos_bundle.data.datalist import SPLITS, Datalist, MaskSource, write_datalist
from conemos_bundle.data.time_points import BIDS, subject_pattern
from conemos_bundle.errors import UserError
from conemos_bundle.importers.folders import Found, from_csv, from_folders, subject_finder
from conemos_bundle.importers.nnunet import from_decathlon, from_nnunet, read_dataset_json
from conemos_bundle.importers.segmentations import from_segmentations
from conemos_bundle.importers.split import split_by_subject
from conemos_bundle.utils.records import one_line
from pydantic import ValidationError

KINDS = ("folders", "decathlon", "nnunet", "csv", "segmentations")


def datalist(
    source: str,
    output: str = "datalist.json",
    kind: str | None = None,
    csv: str | None = None,
    regions: dict[str, int | list[int]] | list[str] | None = None,
    inside: dict[str, str] | None = None,
    ignore: int | list[int] | None = None,
    empty: str | None = None,
    subject: str | None = None,
    validation: float = 0.15,
    test: float = 0.25,
    seed: int = 0,
    dataset_dir: str | None = None,
    name: str | None = None,
    description: str | None = None,
    modality: str | None = None,
    licence: str | None = None,
    reference: str | None = None,
) -> None:
    """Write a datalist for folders of masks, a Medical Decathlon task, nnU-Net v2 raw data, label maps with a CSV, or
    3D Slicer's segmentations.

    Args:
        source: the folder of the data set.
        output: the datalist to write.
        kind: ``folders``, ``decathlon``, ``nnunet``, ``csv`` or ``segmentations``; default: what the folder looks like.
        csv: table of what is annotated: columns scan, split, subject (optional), one per region with 1, 0 or nothing,
            or ``absent``.
        regions: label values of each region, ``{'hippocampus': [1, 2], 'anterior': [1]}``, outer first; needed with a
            CSV, replaces the labels of dataset.json. For folders of masks and segments: their names, outer first.
        inside: which region lies inside which other, ``{'anterior': 'hippocampus'}``: then `conemos check` looks
            whether the annotations agree, and ``--overlay inside`` sees to it that the predictions do.
        ignore: value, or values, of masks and label maps whose voxels nobody has annotated.
        empty: ``absent``: an empty mask says that its region is not there; every mask is read. Otherwise
            `conemos check` takes it for a mistake.
        subject: regular expression whose one group is the subject in a scan's name; default: the whole name, or BIDS's
            ``sub-…`` at its beginning. Names that look like several times of one patient are told.
        validation: part of the subjects for validation, where the source does not say.
        test: part of the subjects for the test, where the source does not say.
        seed: seed of that split.
        dataset_dir: the folder that the datalist's paths start at; default: ``source``.
        name: name of the data set; default: what dataset.json says, or the folder's name.
        description: what the data set shows.
        modality: such as ``MR``.
        licence: the data set's licence.
        reference: what to cite.

    Raises:
        UserError: something in the source or the options is wrong; nothing is written then.
    """
    folder = Path(str(source)).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{source}: no such folder")
    root = folder if dataset_dir is None else Path(str(dataset_dir)).expanduser().absolute()
    if not root.is_dir():
        raise UserError(f"{dataset_dir}: no such folder")
    target = Path(str(output)).expanduser().absolute()
    if target.is_dir():
        raise UserError(f"{output}: is a folder; pass --output with the file to write")
    fractions = _fractions(validation, test)
    if type(seed) is not int:
        raise UserError(f"--seed {seed}: pass an integer")

    empty_is_absent = check_empty_option(empty)
    found = _find(folder, root, kind or _kind(folder, csv), csv, regions, subject)
    _ignore(found, ignore)
    if subject is None:
        _look_for_time_points(found)
    if empty_is_absent:
        found.unsplit, _ = declare_absent(found.unsplit, root)
        found.split = {split: declare_absent(scans, root)[0] for split, scans in found.split.items()}
    if "test" in found.split:  # nnU-Net's own test scans
        fractions = {"training": 1 - validation, "validation": validation}
    splits = {**split_by_subject(found.unsplit, fractions, seed), **found.split}
    options = {
        "name": name,
        "description": description,
        "modality": modality,
        "licence": licence,
        "reference": reference,
    }
    given = {key: str(text) for key, text in options.items() if text is not None}
    fields = {"name": folder.name, **found.fields, **given}
    try:
        data = Datalist.model_validate({**fields, "regions": found.regions, "inside": inside or {}, **splits})
    except ValidationError as error:
        line = one_line(error)
        where = f"--inside {inside}: " if "'inside'" in line else ""
        where = next((f"--{key}: " for key in given if line.startswith(f"{key}: ")), where)
        raise UserError(f"{where or f'{source}: '}{line}") from error
    write_datalist(data, target)

    print("\n".join([*found.notes, annotated_scans(data), f"wrote {target}"]))
    if target.parent.resolve() != root.resolve():
        print(f"the paths in it start at {root}: pass --dataset_dir {root} wherever you use it")


def annotated_scans(data: Datalist) -> str:
    """A table: the splits, with the number of their scans, of those annotated for each region, and of those where it is
    absent (for regions that are absent somewhere)."""
    annotated = {split: Counter(region for scan in data.scans(split) for region in scan.annotated) for split in SPLITS}
    absent = {split: Counter(region for scan in data.scans(split) for region in scan.absent) for split in SPLITS}
    absent_somewhere = set().union(*absent.values())
    rows = {}
    for split in SPLITS:
        rows[split] = {"scans": len(data.scans(split))}
        for region in data.regions:
            rows[split][region] = annotated[split][region]
            if region in absent_somewhere:
                rows[split][f"{region} absent"] = absent[split][region]
    return pd.DataFrame.from_dict(rows, orient="index").to_string()


def _look_for_time_points(found: Found) -> None:
    """Where names look like several times of one patient: take BIDS's subjects, and suggest others."""
    pattern = subject_pattern(sorted({scan.subject for scan in found.unsplit}))
    if pattern is None:
        return
    if pattern != BIDS:
        found.notes.append(
            "note: the names look like several times of one patient, yet each counts as a subject of its own, and a "
            f"patient may be in two splits; if so, pass --subject '{pattern}'"
        )
        return
    for index, scan in enumerate(found.unsplit):
        if match := re.search(BIDS, scan.subject):
            found.unsplit[index] = scan.model_copy(update={"subject": match[1]})
    found.notes.append(f"subjects: by BIDS, the names' sub-… (--subject '{BIDS}')")


def _ignore(found: Found, values: object) -> None:
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


def _fractions(validation: float, test: float) -> dict[str, float]:
    for option, part in (("validation", validation), ("test", test)):
        if type(part) not in (int, float) or not 0 <= part < 1:
            raise UserError(f"--{option} {part}: pass a part of the subjects, at least 0 and below 1")
    if validation + test >= 1:
        raise UserError(f"--validation {validation} --test {test}: together they leave no subject for training")
    return {"training": 1 - validation - test, "validation": validation, "test": test}


def _kind(folder: Path, csv: str | None) -> str:
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
        f"--csv TABLE, or say --kind {'|'.join(KINDS)}"
    )


def _find(folder: Path, root: Path, kind: str, csv: str | None, regions: object, subject: str | None) -> Found:
    if kind not in KINDS:
        raise UserError(f"--kind {kind}: use one of {', '.join(KINDS)}")
    if (csv is None) == (kind == "csv"):
        raise UserError(
            "--kind csv needs --csv TABLE" if csv is None else f"--csv {csv}: does not go with --kind {kind}"
        )
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
