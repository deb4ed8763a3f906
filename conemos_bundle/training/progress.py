"""What a person sees of training: what is trained, loss, step time, time left, validation Dice per region."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

import torch
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.training.curve import false_positives
from conemos_bundle.training.schedule import TimedCosine
from ignite.engine import Engine, Events
from tqdm import tqdm

logger = logging.getLogger(__name__)
FIRST_STEPS = 20  # enough for an estimate
FEWEST_STEPS = 3  # where they take long: the first one is slower than others
LONG = 3600  # seconds of a training that not everybody expects
SILENCE = 60.0  # seconds
MOST_NAMED = 12  # regions
SHOWN = 50  # steps: the mean of their losses


def describe_training(datalist: Datalist, plan: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """What is trained, in one line.

    Args:
        datalist: the data set.
        plan: see `plan_input` and `plan_scales`.
        settings: ``settings`` of the configuration.

    Example::

        >>> scan = {"image": "a.nii", "subject": "a", "masks": {"liver": "b.nii"}}
        >>> data = Datalist.model_validate({"regions": ["liver", "spleen"], "training": [scan]})
        >>> plan = {"spacing": [1, 1, 3], "patch_size": [64, 64, 32]}
        >>> describe_training(data, plan, {"method": "CoNeMOS", "batch_size": 2})
        'CoNeMOS on 1 scans (liver in 1, spleen in 0); 2 patches a step, of 64 x 64 x 32 voxels of 1 x 1 x 3 mm'
    """
    scans = [scan for scan in datalist.training if scan.masks]
    each = [f"{name} in {sum(name in scan.annotated for scan in scans)}" for name in datalist.regions]
    named = ", ".join(each[:MOST_NAMED]) + (f" and {len(each) - MOST_NAMED} more" if len(each) > MOST_NAMED else "")
    size, spacing = (" x ".join(f"{side:.3g}" for side in plan[name]) for name in ("patch_size", "spacing"))
    voxels = f"{size} voxels of {spacing} mm"
    if plan.get("scales"):
        voxels = f"at most {size} voxels, each region at a spacing of its own"
    return (
        f"{settings.get('method', 'a network')} on {len(scans)} scans ({named}); "
        f"{settings.get('batch_size', 1)} patches a step, of {voxels}"
    )


class Progress:
    """A bar over all steps of training on a terminal, and one log line per epoch anywhere.

    Before the first step a line says what is trained. Where there is no terminal, one says after some steps how long
    all of them take, and within long epochs there is one a minute.

    Args:
        evaluator: the validation engine, whose metrics the line shows; None: no validation.
        regions: names of the K regions, in channel order.
        metric: name of the validation metric.
        limit: the schedule, where the time is what ends the training.
        about: what is trained, see `describe_training`; empty: no line on it.
    """

    def __init__(
        self,
        evaluator: Engine | None = None,
        regions: Sequence[str] = (),
        metric: str = "val_mean_dice",
        limit: TimedCosine | None = None,
        about: str = "",
    ) -> None:
        self.about = about
        self.evaluator = evaluator
        self.regions = list(regions)
        self.metric = metric
        self.limit = limit
        self.bar: tqdm | None = None
        self.losses: list[torch.Tensor] = []  # read where they are shown: a GPU is not waited for at each step
        self.seconds: list[float] = []
        self.step_started = 0.0
        self.last_line = 0.0
        self.has_estimated = False

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
            if self.about:
                device = getattr(engine.state, "device", None)
                amount = (
                    f"{engine.state.max_epochs} epochs"
                    if self.limit is None
                    else f"{_time(self.limit.seconds)}, epochs"
                )
                logger.info(
                    f"training {self.about}; {amount} of {engine.state.epoch_length} steps"
                    f"{f', on {device}' if device is not None else ''}"
                )
        self.losses, self.seconds = [], []
        self.step_started = self.last_line = time.perf_counter()

    def _step(self, engine: Engine) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.step_started)  # loading included: from the end of the step before
        self.step_started = now
        self.losses.append(engine.state.output["loss"].detach())  # type: ignore[index]
        if self.bar is not None:
            if not self.bar.disable:
                self.bar.set_postfix(
                    loss=f"{_mean(self.losses[-SHOWN:]):.3f}", step=f"{self.seconds[-1]:.2f}s", refresh=False
                )
            self.bar.update()
            if self.bar.disable and len(self.seconds) < (engine.state.epoch_length or 0):  # else the epoch's line comes
                self._tell_time(engine, now)

    def _tell_time(self, engine: Engine, now: float) -> None:
        """Where nobody sees the bar: how long it takes in all, once that shows; and once a minute how far it is."""
        steps, is_silent = len(self.seconds), now - self.last_line >= SILENCE
        if not (is_silent if self.has_estimated else steps >= FIRST_STEPS or (is_silent and steps >= FEWEST_STEPS)):
            return
        step, of_epoch = median(self.seconds), engine.state.epoch_length or 0
        if self.has_estimated:
            logger.info(
                f"epoch {self._epoch(engine)}, step {steps}/{of_epoch}: loss {_mean(self.losses[-SHOWN:]):.4f}, "
                f"{step:.2f} s per step, {self._left(engine, step) / 60:.0f} min left"
            )
        else:  # of this start: a training may go on with an earlier one
            total = steps + round(self._left(engine, step) / max(step, 1e-9))
            less = "" if self.limit is not None or step * total < LONG else "; --minutes 30 takes no longer than that"
            logger.info(
                f"{step:.2f} s per step: about {_time(step * total)} for {total} steps, besides validation{less}"
            )
        self.has_estimated, self.last_line = True, now

    def _epoch_completed(self, engine: Engine) -> None:
        step = median(self.seconds)
        self.has_estimated = True  # this line says how much time is left
        text = (
            f"epoch {self._epoch(engine)}: loss {_mean(self.losses):.4f}, {step:.2f} s per step, "
            f"{self._left(engine, step) / 60:.0f} min left"
        )
        if self.evaluator is not None and self.evaluator.state.epoch == engine.state.epoch:
            details = self.evaluator.state.metric_details  # type: ignore[attr-defined]
            means = details[self.metric].nanmean(dim=0).tolist()
            each = ", ".join(f"{region} {mean:.3f}" for region, mean in zip(self.regions, means, strict=True))
            text += f"; validation Dice {self.evaluator.state.metrics[self.metric]:.4f} ({each})"
            volumes = false_positives(self.evaluator, self.regions)
            if volumes:
                text += "; ml where absent: " + ", ".join(f"{region} {ml:.3g}" for region, ml in volumes.items())
        logger.info(text)

    def _epoch(self, engine: Engine) -> str:
        return str(engine.state.epoch) if self.limit is not None else f"{engine.state.epoch}/{engine.state.max_epochs}"

    def _left(self, engine: Engine, step: float) -> float:
        """Seconds of steps that are left."""
        if self.limit is not None:
            return max(0.0, self.limit.seconds - self.limit.spent)
        return step * ((engine.state.max_epochs or 0) * (engine.state.epoch_length or 0) - engine.state.iteration)

    def _completed(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _mean(losses: list[torch.Tensor]) -> float:
    return fmean(torch.stack(losses).tolist())


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
