"""Datalists, data sets and sampling of partly annotated scans."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from conemos_bundle.data.reduced import one_region

if TYPE_CHECKING:
    from conemos_bundle.data.loading import region_sampler, scan_dataset
    from conemos_bundle.data.plan import plan_input
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
_MODULES = {
    "RegionDataset": "region_dataset",
    "RegionSampler": "sampling",
    "Sample": "sampling",
    "check_regions_per_scan": "region_dataset",
    "find_scans": "scans",
    "plan_input": "plan",
    "plan_scales": "scale_plan",
    "region_sampler": "loading",
    "reject_no_scans": "scans",
    "scan_dataset": "loading",
    "unfinished_scans": "scans",
    "validate_datalist": "refuse",
}


def __getattr__(name: str) -> Any:  # MONAI takes seconds to import, and who reads or writes a datalist needs none of it
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
