"""How many scans annotate each region."""

from __future__ import annotations

from collections import Counter

import pandas as pd
from conemos_bundle.data.datalist import SPLITS, Datalist


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
