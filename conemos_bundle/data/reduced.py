"""A data set reduced to one of its regions."""

from __future__ import annotations

from conemos_bundle.data.datalist import Datalist
from conemos_bundle.errors import UserError


def one_region(datalist: Datalist, region: str) -> Datalist:
    """The datalist with one region, and the scans that tell of it.

    Args:
        datalist: the datalist.
        region: its name.

    Raises:
        UserError: the datalist does not name it, or no training scan is annotated for it.
    """
    if region not in datalist.regions:
        raise UserError(f"--region {region}: the datalist has {', '.join(datalist.regions)}; name one of them")
    splits = {
        split: [
            scan.model_copy(update={"masks": {region: scan.masks[region]}})
            for scan in datalist.scans(split)
            if region in scan.masks
        ]
        for split in ("training", "validation", "test")
    }
    if not any(region in scan.annotated for scan in splits["training"]):
        raise UserError(f"--region {region}: no training scan of the datalist is annotated for it; draw a few")
    return datalist.model_copy(update={"regions": [region], "inside": {}, **splits})
