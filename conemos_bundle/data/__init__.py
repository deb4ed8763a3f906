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
from conemos_bundle.data.fraction import keep_fraction
from conemos_bundle.data.loading import region_sampler, scan_dataset
from conemos_bundle.data.plan import plan_input
from conemos_bundle.data.reduced import one_region
from conemos_bundle.data.refuse import validate_datalist
from conemos_bundle.data.region_dataset import RegionDataset, check_regions_per_scan
from conemos_bundle.data.sampling import RegionSampler, Sample
from conemos_bundle.data.scale_plan import plan_scales
from conemos_bundle.data.scans import find_scans, reject_no_scans, unfinished_scans

__all__ = [
    "Datalist",
    "MaskSource",
    "RegionDataset",
    "RegionSampler",
    "Sample",
    "Scan",
    "check_regions_per_scan",
    "find_scans",
    "keep_fraction",
    "one_region",
    "plan_input",
    "plan_scales",
    "read_datalist",
    "region_sampler",
    "reject_no_scans",
    "scan_dataset",
    "scan_items",
    "scans_folder",
    "unfinished_scans",
    "validate_datalist",
    "write_datalist",
]
