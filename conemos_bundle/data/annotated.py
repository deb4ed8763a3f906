"""How many scans annotate each region."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pandas as pd
from conemos_bundle.data.datalist import SPLITS, Datalist


class SplitCounts(NamedTuple):
    """Of one split: its scans, and how many of them annotate each region, or say that it is absent."""

    scans: int
    annotated: Counter[str]
    absent: Counter[str]


def count_annotated(data: Datalist) -> dict[str, SplitCounts]:
    """The counts of each split.

    Example::

        >>> from conemos_bundle.data.datalist import Datalist
        >>> scan = {"image": "a.nii.gz", "subject": "a", "masks": {"liver": "b.nii.gz", "tumor": {"absent": True}}}
        >>> counts = count_annotated(Datalist.model_validate({"regions": ["liver", "tumor"], "training": [scan]}))
        >>> counts["training"].annotated["liver"], counts["training"].absent["tumor"], counts["test"].scans
        (1, 1, 0)
    """
    return {
        split: SplitCounts(
            len(data.scans(split)),
            Counter(region for scan in data.scans(split) for region in scan.annotated),
            Counter(region for scan in data.scans(split) for region in scan.absent),
        )
        for split in SPLITS
    }


def annotated_scans(data: Datalist) -> str:
    """A table: the splits, with the number of their scans, of those annotated for each region, and of those where it is
    absent (for regions that are absent somewhere)."""
    counts = count_annotated(data)
    absent_somewhere = set().union(*(each.absent for each in counts.values()))
    rows = {}
    for split, each in counts.items():
        rows[split] = {"scans": each.scans}
        for region in data.regions:
            rows[split][region] = each.annotated[region]
            if region in absent_somewhere:
                rows[split][f"{region} absent"] = each.absent[region]
    return pd.DataFrame.from_dict(rows, orient="index").to_string()
