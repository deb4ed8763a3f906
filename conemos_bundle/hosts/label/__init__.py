"""MONAI Label serves the bundle: regions on demand, training from what annotators saved, active learning.

`app`, `tasks` need monailabel, which lives in an environment of its own; the rest does not.
"""

from conemos_bundle.hosts.label.requests import AskedRegionsd, region_options
from conemos_bundle.hosts.label.transforms import PaintAskedRegionsd, RegionConfidenced, TagAskedRegionsd, infer_asked

__all__ = [
    "AskedRegionsd",
    "PaintAskedRegionsd",
    "RegionConfidenced",
    "TagAskedRegionsd",
    "infer_asked",
    "region_options",
]
