"""Inference of the regions asked for, on whole scans or in windows."""

from conemos_bundle.inferers.containment import parent_indices
from conemos_bundle.inferers.each_scan import segment_each
from conemos_bundle.inferers.inference import infer
from conemos_bundle.inferers.load_weights import LoadWeights
from conemos_bundle.inferers.regions import asked_regions, region_indices
from conemos_bundle.inferers.saving import SaveImageRegionsd

__all__ = [
    "LoadWeights",
    "SaveImageRegionsd",
    "asked_regions",
    "infer",
    "parent_indices",
    "region_indices",
    "segment_each",
]
