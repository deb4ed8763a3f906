"""The phantom: synthetic fetal scans, partially annotated and free to share, a small one and one at full fidelity."""

from conemos_bundle.phantom.anatomy import REGIONS
from conemos_bundle.phantom.make import draw_scan, draw_scan_at_full_fidelity, make_phantom

__all__ = ["REGIONS", "draw_scan", "draw_scan_at_full_fidelity", "make_phantom"]
