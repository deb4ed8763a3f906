"""Training: workflows, handlers of its engine, and what a run needs to be resumed."""

from conemos_bundle.training.checkpoint import Checkpoint
from conemos_bundle.training.curve import Curve
from conemos_bundle.training.handlers import TrainerHandlers, ValidationLog
from conemos_bundle.training.progress import Progress
from conemos_bundle.training.schedule import cosine
from conemos_bundle.training.set_epoch import SetEpoch

__all__ = ["Checkpoint", "Curve", "Progress", "SetEpoch", "TrainerHandlers", "ValidationLog", "cosine"]
