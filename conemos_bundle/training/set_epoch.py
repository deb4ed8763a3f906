"""Tell the sampler which epoch begins."""

from __future__ import annotations

from conemos_bundle.data.sampling import RegionSampler
from ignite.engine import Engine, Events


class SetEpoch:
    """Handler of the trainer: the draws of an epoch depend on its number, also after a resume."""

    def __init__(self, sampler: RegionSampler) -> None:
        self.sampler = sampler

    def attach(self, engine: Engine) -> None:
        """Follow the trainer's epochs."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda trainer: self.sampler.set_epoch(trainer.state.epoch))
