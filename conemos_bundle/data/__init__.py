"""Datalists, data sets and sampling of partly annotated scans."""

from conemos_bundle.data.datalist import (
    Datalist,
    MaskSource,
    Scan,
    read_datalist,
    scan_items,
    scans_folder,
    write_datalist,
)
from conemos_bundle.data.loading import region_sampler, scan_dataset
from conemos_bundle.data.plan import plan_input
from conemos_bundle.data.refuse import refuse_problems
from conemos_bundle.data.region_dataset import RegionDataset
from conemos_bundle.data.sampling import Draw, RegionSampler
from conemos_bundle.data.scans import find_scans, refuse_no_scans, unfinished_scans
from conemos_bundle.data.share import keep_share

__all__ = [
    "Datalist",
    "Draw",
    "MaskSource",
    "RegionDataset",
    "RegionSampler",
    "Scan",
    "find_scans",
    "keep_share",
    "plan_input",
    "read_datalist",
    "refuse_no_scans",
    "refuse_problems",
    "region_sampler",
    "scan_dataset",
    "scan_items",
    "scans_folder",
    "unfinished_scans",
    "write_datalist",
]
