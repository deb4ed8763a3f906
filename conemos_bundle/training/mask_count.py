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
        engine.state.masks = 0  # type: ignore[attr-defined]

    def _step(self, engine: Engine) -> None:
        known, _ = known_voxels(engine.state.output["label"])  # type: ignore[index]
        engine.state.masks += int(known.flatten(2).any(2).sum())  # type: ignore[attr-defined]

    def _epoch_completed(self, engine: Engine) -> None:
        if torch.distributed.is_initialized():
            device = engine.state.output["label"].device  # type: ignore[index]
            masks = torch.tensor(engine.state.masks, device=device)  # type: ignore[attr-defined]
            torch.distributed.all_reduce(masks)
            engine.state.masks = int(masks)  # type: ignore[attr-defined]
