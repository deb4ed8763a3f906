"""Scans of one patient at several times, told by their names: they belong in one split."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

BIDS = r"^(sub-[0-9A-Za-z]+)_ses-"
MOST_TIMES = 12  # numbers that go further count patients, not times
_WORDS = "ses(?:sion)?|visit|time|tp|t|v|week|wk|month|day|fu|followup|bl|baseline"
# what a name says, and in how many of the groups that it makes there must be several scans
_PATTERNS = {
    BIDS: 0.0,
    rf"(?i)^(.+?)[_-](?:{_WORDS})[_-]?\d*$": 0.0,
    r"^(.+?)[_-](?:19|20)\d{2}[_-]?\d{2}[_-]?\d{2}$": 0.0,
    r"^(.*\d)[_-]\d{1,3}$": 0.5,
    r"^(\D*\d{2})\d{2}$": 0.5,
    r"^(\D*\d{3})\d{3}$": 0.5,
}


def subject_pattern(names: Sequence[str]) -> str | None:
    """The regular expression whose group is the patient in names like ``sub-01_ses-02``, ``P3_t1``, ``P3_2``, ``0302``.

    Args:
        names: of scans or subjects, each once.

    Returns:
        None where the names do not look like several times of several patients: no two share a patient, more than a
        fifth do not fit, or a patient would have more than 12 times.

    Example:
        >>> subject_pattern(["P1_t1", "P1_t2", "P2_t1"])[:12]
        '(?i)^(.+?)[_'
        >>> subject_pattern(["case_001", "case_002", "case_017"]) is None
        True
    """
    for pattern, often in _PATTERNS.items():
        groups: dict[str, list[str]] = defaultdict(list)
        for name in names:
            if match := re.search(pattern, name):
                groups[match[1]].append(name[match.end(1) :])
        fitting = sum(map(len, groups.values()))
        several = [times for times in groups.values() if len(times) > 1]
        if not several or len(groups) < 2 or fitting < 0.8 * len(names):
            continue
        times = {time for found in groups.values() for time in found}
        if often and (len(several) < often * len(groups) or len(times) > MOST_TIMES):
            continue
        return pattern
    return None


def shared_patients(splits: dict[str, set[str]]) -> tuple[str, list[tuple[str, str, str, str]]]:
    """Subjects of two splits whose names look like times of one patient.

    Args:
        splits: the subjects of each split.

    Returns:
        the pattern, and for each patient in two splits a subject and its split, another and its split.
    """
    pattern = subject_pattern(sorted(set().union(*splits.values())))
    if pattern is None:
        return "", []
    first: dict[str, tuple[str, str]] = {}
    shared: dict[str, tuple[str, str, str, str]] = {}
    for split, subjects in splits.items():
        for subject in sorted(subjects):
            if match := re.search(pattern, subject):
                other, other_split = first.setdefault(match[1], (subject, split))
                if other_split != split:
                    shared.setdefault(match[1], (other, other_split, subject, split))
    return pattern, list(shared.values())
