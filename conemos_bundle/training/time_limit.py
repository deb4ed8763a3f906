"""A training that ends when its time is spent, wherever in an epoch that is."""

from __future__ import annotations

from conemos_bundle.training.schedule import TimedCosine
from ignite.engine import Engine, Events

UNLIMITED = 10**9  # epochs


class TimeLimit:
    """End the training when the schedule's time is over; the epoch that is cut short counts as the last one.

    Put it before the handlers that look at ``max_epochs`` when an epoch ends; the checkpoint, which knows how much time
    an earlier session spent, is loaded before any epoch begins.

    Args:
        schedule: the clock.
    """

    def __init__(self, schedule: TimedCosine) -> None:
        self.schedule = schedule

    def attach(self, engine: Engine) -> None:
        """Follow the trainer, whose number of epochs counts no more."""
        engine.state.max_epochs = UNLIMITED
        engine.add_event_handler(Events.EPOCH_STARTED, self.schedule.go_on)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._last)

    def resumed(self, engine: Engine) -> None:
        """Train no more where the time was spent before."""
        if self.schedule.is_over:
            engine.state.max_epochs = engine.state.epoch

    def _end(self, engine: Engine) -> None:
        if self.schedule.is_over:
            engine.terminate_epoch()

    def _last(self, engine: Engine) -> None:
        if self.schedule.is_over:
            engine.state.max_epochs = engine.state.epoch
