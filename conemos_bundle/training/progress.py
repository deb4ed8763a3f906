"""What a person sees of training: loss, step time, time left, validation Dice per region."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from statistics import fmean, median

import torch
from conemos_bundle.training.curve import false_positives
from conemos_bundle.training.schedule import TimedCosine
from ignite.engine import Engine, Events
from tqdm import tqdm

logger = logging.getLogger(__name__)


class Progress:
    """A bar over all steps of training on a terminal, and one log line per epoch anywhere.

    Args:
        evaluator: the validation engine, whose metrics the line shows; None: no validation.
        regions: names of the K regions, in channel order.
        metric: name of the validation metric.
        limit: the schedule, where the time is what ends the training.
    """

    def __init__(
        self,
        evaluator: Engine | None = None,
        regions: Sequence[str] = (),
        metric: str = "val_mean_dice",
        limit: TimedCosine | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.regions = list(regions)
        self.metric = metric
        self.limit = limit
        self.bar: tqdm | None = None
        self.losses: list[torch.Tensor] = []  # read where they are shown: a GPU is not waited for at each step
        self.seconds: list[float] = []
        self.step_started = 0.0

    def attach(self, engine: Engine) -> None:
        """Follow the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self._completed)

    def _epoch_started(self, engine: Engine) -> None:
        if self.bar is None:
            total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0) if self.limit is None else None
            self.bar = tqdm(total=total, initial=engine.state.iteration, unit="step", desc="training", disable=None)
        self.losses, self.seconds = [], []
        self.step_started = time.perf_counter()

    def _step(self, engine: Engine) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.step_started)  # loading included: from the end of the step before
        self.step_started = now
        self.losses.append(engine.state.output["loss"].detach())  # type: ignore[index]
        if self.bar is not None:
            if not self.bar.disable:
                self.bar.set_postfix(
                    loss=f"{_mean(self.losses[-50:]):.3f}", step=f"{self.seconds[-1]:.2f}s", refresh=False
                )
            self.bar.update()

    def _epoch_completed(self, engine: Engine) -> None:
        step = median(self.seconds)
        if self.limit is None:
            left = step * ((engine.state.max_epochs or 0) - engine.state.epoch) * (engine.state.epoch_length or 0)
            epoch = f"{engine.state.epoch}/{engine.state.max_epochs}"
        else:
            left = max(0.0, self.limit.seconds - self.limit.spent)
            epoch = str(engine.state.epoch)
        text = f"epoch {epoch}: loss {_mean(self.losses):.4f}, {step:.2f} s per step, {left / 60:.0f} min left"
        if self.evaluator is not None and self.evaluator.state.epoch == engine.state.epoch:
            details = self.evaluator.state.metric_details  # type: ignore[attr-defined]
            means = details[self.metric].nanmean(dim=0).tolist()
            each = ", ".join(f"{region} {mean:.3f}" for region, mean in zip(self.regions, means, strict=True))
            text += f"; validation Dice {self.evaluator.state.metrics[self.metric]:.4f} ({each})"
            volumes = false_positives(self.evaluator, self.regions)
            if volumes:
                text += "; ml where absent: " + ", ".join(f"{region} {ml:.3g}" for region, ml in volumes.items())
        logger.info(text)

    def _completed(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _mean(losses: list[torch.Tensor]) -> float:
    return fmean(torch.stack(losses).tolist())
