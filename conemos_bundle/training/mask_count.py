"""How many masks a training has seen."""

from __future__ import annotations

import torch
from conemos_bundle.utils.known import known_voxels
from ignite.engine import Engine, Events


class MaskCount:
    """Count the (image, region) masks that the steps of an epoch learn from, in ``engine.state.masks``.

    Those are the channels of the labels with any known voxel. At the end of the epoch it is the sum over all processes:
    put it into the handlers of each of them, before those that read it.
    """

    def attach(self, engine: Engine) -> None:
        """Follow the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)

    def _epoch_started(self, engine: Engine) -> None:
        self.counts: list[torch.Tensor] = []  # read at the end of the epoch: a GPU is not waited for at each step

    def _step(self, engine: Engine) -> None:
        known, _ = known_voxels(engine.state.output["label"])  # type: ignore[index]
        self.counts.append(known.flatten(2).any(2).sum())

    def _epoch_completed(self, engine: Engine) -> None:
        masks = torch.stack(self.counts).sum()
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(masks)
        engine.state.masks = int(masks)  # type: ignore[attr-defined]
