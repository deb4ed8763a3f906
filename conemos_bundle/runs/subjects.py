"""``subjects.json``: whom a run has seen, so that an evaluation can say whether it sees them again.

Hashes of the subjects' names, since a run's folder may be passed on; `conemos pack` leaves the file behind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from conemos_bundle.data.datalist import Datalist
from conemos_bundle.errors import UserError
from conemos_bundle.utils.records import Strict, read_as
from pydantic import Field

SUBJECTS = "subjects.json"
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Subjects(Strict):
    """Hashes of the subjects that a run was trained on, and of those on whose scans its weights were chosen."""

    training: list[_Hash] = Field(default_factory=list)
    validation: list[_Hash] = Field(default_factory=list)
    complete: bool = True  # no others: not where it began with a model, or has a region, that does not say


class Seen(NamedTuple):
    """How many scans of a split a run has seen, and whether that is all."""

    scans: int
    trained: int
    chosen: int
    complete: bool = True


def subject_hash(subject: str) -> str:
    """A name as it stands in the file.

    Example::

        >>> subject_hash("case_004")
        '3e6ecd8ddaa7a7de'
    """
    return hashlib.sha256(subject.encode()).hexdigest()[:16]


def subjects_bytes(datalist: Datalist, before: str | os.PathLike[str] | None = None) -> bytes:
    """What the file holds of a training on a data set: subjects of scans without any mask are not seen.

    Args:
        datalist: the data set.
        before: folder of the model that the training begins with; what that has seen is seen.
    """
    training, validation = (
        [subject_hash(scan.subject) for scan in datalist.scans(split) if scan.masks]
        for split in ("training", "validation")
    )
    seen = Subjects(training=training, validation=validation)
    return _together([seen, *([] if before is None else [_read(before)])])


def known_subjects(folders: Sequence[str | os.PathLike[str]], complete: bool = True) -> bytes | None:
    """What the file holds of a model that has seen what several runs have; None where none of them says.

    Args:
        folders: of the runs.
        complete: nobody else has a part in the model.
    """
    said = [_read(folder) for folder in folders]
    return _together([*said, *([] if complete else [None])]) if any(said) else None


def _read(folder: str | os.PathLike[str]) -> Subjects | None:
    try:
        return read_as(Subjects, Path(folder) / SUBJECTS)
    except UserError:
        return None


def _together(said: Sequence[Subjects | None]) -> bytes:
    known = [each for each in said if each is not None]
    found: dict[str, object] = {
        "training": sorted({subject for each in known for subject in each.training}),
        "validation": sorted({subject for each in known for subject in each.validation}),
    }
    if len(known) < len(said) or not all(each.complete for each in known):
        found["complete"] = False
    return (json.dumps(found, indent=4) + "\n").encode()


def scans_seen(folder: str | os.PathLike[str], datalist: Datalist, split: str) -> Seen | None:
    """How many scans of a split are of subjects that a run was trained on, or, of the others, that it was chosen on.

    Args:
        folder: of the run.
        datalist: the data set, which may be another one than that of the training: subjects are compared by name.
        split: of it; its scans without any mask do not count.

    Returns:
        the numbers; None where the run does not say, as those of earlier versions.
    """
    subjects = _read(folder)
    if subjects is None:
        return None
    hashes = [subject_hash(scan.subject) for scan in datalist.scans(split) if scan.masks]
    trained, chosen = set(subjects.training), set(subjects.validation)
    counts = (sum(h in trained for h in hashes), sum(h in chosen - trained for h in hashes))
    return Seen(len(hashes), *counts, subjects.complete)
