"""Segmentation from Python: a scan in, masks of the regions asked for out, on the scan's own grid."""

from conemos_bundle.predictor.batch import segment_scans
from conemos_bundle.predictor.loading import torch_device
from conemos_bundle.predictor.predictor import Predictor
from conemos_bundle.predictor.segmentation import Segmentation

__all__ = ["Predictor", "Segmentation", "segment_scans", "torch_device"]
