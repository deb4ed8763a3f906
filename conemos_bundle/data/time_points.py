"""Scans of one patient at several times, told by their names: they belong in one split."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

BIDS = r"^(sub-[0-9A-Za-z]+)_"
MOST_TIMES = 12  # of one patient; numbers that go further count patients
MOST_KINDS = 0.75  # of the names: times of several patients repeat, running numbers do not
_TIME = "ses(?:sion)?|visit|time|timepoint|tp|t|v|week|wk|month|day|fu|followup|bl|baseline|ga"
_PART = (  # or kind of scan
    "frame|scan|exam|study|series|stack|mr|ct|run|rep|acq|year|yr|y|m|w|d|pre|post|ed|es|left|right|lh|rh|l|r|"
    "arterial|portal[_-]?venous|venous|portal|delayed"
)
_AGE = r"\d{1,3}(?:d(?:ays?)?|w(?:ee)?ks?|w(?:\d{1,2}d)?|mo?(?:nths?)?|y(?:rs?|ears?)?)"
_DATE = r"(?:19|20)\d{2}[_.-]?\d{2}[_.-]?\d{2}"


class _Rule(NamedTuple):
    several: float = 0.0  # part of the patients that have several scans
    most: float = inf  # scans of one patient
    most_kinds: float = inf  # times in all


# what a name says, the surest first
_WORDS = _Rule(most=MOST_TIMES)
_NUMBERS = _Rule(several=0.5, most=MOST_TIMES, most_kinds=MOST_TIMES)
_PATTERNS = {
    BIDS: _Rule(),
    rf"(?i)^(.+?)[_-](?:{_TIME})[_-]?\d*$": _Rule(),
    rf"^(.+?)[_-]{_DATE}$": _Rule(),
    r"(?i)^(.+?)[_-](?:MR|CT|PET)[_-]d\d{3,}$": _Rule(),  # OASIS-3: days
    r"^(\d{7})_\d{5}_\d_\d$": _Rule(),  # UK Biobank: field, visit, number
    rf"(?i)^(.+?)[_-](?:{_PART}|{_TIME})\d*$": _WORDS,
    rf"(?i)^(.+?)[_-](?:GA)?{_AGE}$": _WORDS,
    r"^(.+-\d{5})-\d{3}$": _WORDS,  # BraTS: patient, scan
    rf"(?i)^(.+?)[_-](?:{_TIME})[_-]?\d+[_-].+$": _WORDS,
    rf"(?i)^(?:{_TIME})[_-]?\d+[_-](.+)$": _WORDS,
    r"^(.*\d)(?:[TVtv]\d{1,2}|[a-d])$": _WORDS,
    rf"^(?!{_DATE}$)(.*\d)[_-]\d{{1,3}}$": _NUMBERS,
    r"^(\D*\d{2})\d{2}$": _NUMBERS,
    r"^(\D*\d{3})\d{3}$": _NUMBERS,
}


def subject_pattern(names: Sequence[str]) -> str | None:
    """The regular expression whose group is the patient in names like ``sub-01_ses-02``, ``P3_t1``, ``P3_2``, ``0302``.

    Args:
        names: of scans or subjects, each once.

    Returns:
        None where the names do not look like several times of several patients: no two share a patient, more than a
        fifth do not fit, a patient would have more than 12 times (where the name does not say that they are times),
        or each name a time of its own, as running numbers have (``0099``, ``0100``).

    Example:
        >>> subject_pattern(["P1_t1", "P1_t2", "P2_t1"])[:12]
        '(?i)^(.+?)[_'
        >>> subject_pattern(["case_001", "case_002", "case_017"]) is None
        True
    """
    for pattern, rule in _PATTERNS.items():
        patients: dict[str, list[str]] = defaultdict(list)
        for name in names:
            if match := re.search(pattern, name):
                patients[match[1]].append(name[: match.start(1)] + name[match.end(1) :])
        fitting = sum(map(len, patients.values()))
        counts = [len(times) for times in patients.values()]
        several = sum(count > 1 for count in counts)
        if not several or len(patients) < 2 or fitting < 0.8 * len(names):
            continue
        kinds = len({time for times in patients.values() for time in times})
        if several < rule.several * len(patients) or max(counts) > rule.most or kinds > rule.most_kinds:
            continue
        if rule.most < inf and kinds > MOST_KINDS * fitting:
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
