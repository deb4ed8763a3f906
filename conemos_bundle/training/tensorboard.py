"""TensorBoard, where it is installed: without it the curve of a training is in ``curve.csv`` alone."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monai.handlers import TensorBoardStatsHandler

logger = logging.getLogger(__name__)


def tensorboard_handlers(
    output_dir: str | os.PathLike[str], validation: bool = False, rank: int = 0
) -> list[TensorBoardStatsHandler]:
    """MONAI's handler that writes ``<output_dir>/tensorboard``; none where TensorBoard is not installed.

    The trainer's writes the loss per step (``train_loss``), the evaluator's the metrics per validation.

    Args:
        output_dir: folder of the run.
        validation: for the evaluator, not for the trainer.
        rank: of this process; only process 0 writes.
    """
    if rank > 0:
        return []
    if find_spec("tensorboard") is None:
        if not validation:  # once per training
            logger.info("without TensorBoard, which is not installed: pip install 'conemos-bundle[tensorboard]'")
        return []
    folder = str(Path(output_dir) / "tensorboard")
    if validation:
        return [TensorBoardStatsHandler(log_dir=folder, iteration_log=False)]
    return [TensorBoardStatsHandler(log_dir=folder, tag_name="train_loss", output_transform=loss_of)]


def loss_of(output: dict[str, Any]) -> float:
    """The loss in the output of a training step, a scalar tensor."""
    return output["loss"].item()
