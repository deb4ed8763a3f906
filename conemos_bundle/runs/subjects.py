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


class Seen(NamedTuple):
    """How many scans of a split a run has seen."""

    scans: int
    trained: int
    chosen: int


def subject_hash(subject: str) -> str:
    """A name as it stands in the file.

    Example::

        >>> subject_hash("case_004")
        '3e6ecd8ddaa7a7de'
    """
    return hashlib.sha256(subject.encode()).hexdigest()[:16]


def subjects_bytes(datalist: Datalist) -> bytes:
    """What the file holds of a training on a data set: subjects of scans without any mask are not seen."""
    found = {
        split: sorted({subject_hash(scan.subject) for scan in datalist.scans(split) if scan.masks})
        for split in ("training", "validation")
    }
    return (json.dumps(found, indent=4) + "\n").encode()


def known_subjects(folders: Sequence[str | os.PathLike[str]]) -> bytes | None:
    """What the file holds of a model that has seen what several runs have; None where none of them says."""
    found: dict[str, set[str]] = {"training": set(), "validation": set()}
    said = False
    for folder in folders:
        try:
            subjects = read_as(Subjects, Path(folder) / SUBJECTS)
        except UserError:
            continue
        said = True
        found["training"] |= set(subjects.training)
        found["validation"] |= set(subjects.validation)
    return (
        (json.dumps({name: sorted(hashes) for name, hashes in found.items()}, indent=4) + "\n").encode()
        if said
        else None
    )


def scans_seen(folder: str | os.PathLike[str], datalist: Datalist, split: str) -> Seen | None:
    """How many scans of a split are of subjects that a run was trained on, or, of the others, that it was chosen on.

    Args:
        folder: of the run.
        datalist: the data set, which may be another one than that of the training: subjects are compared by name.
        split: of it; its scans without any mask do not count.

    Returns:
        the numbers; None where the run does not say, as those of earlier versions.
    """
    try:
        subjects = read_as(Subjects, Path(folder) / SUBJECTS)
    except UserError:
        return None
    hashes = [subject_hash(scan.subject) for scan in datalist.scans(split) if scan.masks]
    trained, chosen = set(subjects.training), set(subjects.validation)
    return Seen(len(hashes), sum(h in trained for h in hashes), sum(h in chosen - trained for h in hashes))
