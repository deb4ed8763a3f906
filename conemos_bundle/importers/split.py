"""Training, validation and test scans for a data set that does not say: no subject in two of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from conemos_bundle.data.datalist import Scan


def split_by_subject(scans: Sequence[Scan], fractions: dict[str, float], seed: int) -> dict[str, list[Scan]]:
    """Divide scans at random such that no subject is in two splits.

    Subjects are shuffled and sorted by what is annotated, then dealt to the split that lacks most, so that each
    region's annotated scans spread over the splits. A region that training lacks then gets one of its subjects from
    the split that has most. Subjects without any annotation go to the training split.

    Args:
        scans: the scans; their order does not matter.
        fractions: the part of the subjects in each split, summing to 1.
        seed: the same seed gives the same splits.

    Returns:
        the scans of each split, in their order in ``scans``.
    """
    annotated: dict[str, set[str]] = {}
    for scan in scans:
        annotated.setdefault(scan.subject, set()).update(scan.annotated, (f"{r}: absent" for r in scan.absent))
    subjects = sorted(subject for subject, regions in annotated.items() if regions)
    random.Random(seed).shuffle(subjects)  # noqa: S311 (a split, not a secret)
    subjects.sort(key=lambda subject: sorted(annotated[subject]))
    counts = dict.fromkeys(fractions, 0)
    split_of = {}
    for dealt, subject in enumerate(subjects, start=1):
        lacks_most = max(fractions, key=lambda split: fractions[split] * dealt - counts[split])
        split_of[subject] = lacks_most
        counts[lacks_most] += 1
    for region in sorted({region for scan in scans for region in scan.annotated}):
        having = [subject for subject in subjects if region in annotated[subject]]
        splits = [split_of[subject] for subject in having]
        if "training" not in splits:
            split_of[having[splits.index(max(fractions, key=splits.count))]] = "training"
    return {
        split: [scan for scan in scans if split_of.get(scan.subject, "training") == split]
        for split in ("training", *fractions)
    }
