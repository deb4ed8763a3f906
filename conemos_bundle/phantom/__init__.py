"""The phantom: synthetic fetal scans, partially annotated and free to share, a small one and one at full fidelity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conemos_bundle.phantom.anatomy import REGIONS
from conemos_bundle.phantom.scan import draw_scan, draw_scan_at_full_fidelity

if TYPE_CHECKING:
    from conemos_bundle.phantom.make import make_phantom

__all__ = ["REGIONS", "draw_scan", "draw_scan_at_full_fidelity", "make_phantom"]


def __getattr__(name: str) -> Any:  # torch and MONAI are not imported in every process that draws a scan
    if name == "make_phantom":
        from conemos_bundle.phantom.make import make_phantom

        return make_phantom
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
