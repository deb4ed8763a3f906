"""The phantom: small synthetic fetal scans, partially annotated, that are free to share."""

from conemos_bundle.phantom.anatomy import REGIONS
from conemos_bundle.phantom.make import draw_scan, make_phantom

__all__ = ["REGIONS", "draw_scan", "make_phantom"]
