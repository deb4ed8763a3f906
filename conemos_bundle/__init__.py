"""CoNeMOS Bundle: one network, trained on partially annotated scans, segments the region it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conemos_bundle.utils.version import __version__

if TYPE_CHECKING:
    from conemos_bundle.predictor import Predictor, Segmentation

__all__ = ["Predictor", "Segmentation", "__version__"]


def __getattr__(name: str) -> Any:  # torch and MONAI are imported when they are needed, not for `conemos --help`
    if name in ("Predictor", "Segmentation"):
        from conemos_bundle import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
