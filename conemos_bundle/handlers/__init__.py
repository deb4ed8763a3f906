"""Handlers of MONAI's engines."""

from conemos_bundle.handlers.checkpoint import Checkpoint
from conemos_bundle.handlers.curve import Curve
from conemos_bundle.handlers.evaluation_report import EvaluationReport
from conemos_bundle.handlers.load_weights import LoadWeights
from conemos_bundle.handlers.progress import Progress
from conemos_bundle.handlers.set_epoch import SetEpoch

__all__ = ["Checkpoint", "Curve", "EvaluationReport", "LoadWeights", "Progress", "SetEpoch"]
