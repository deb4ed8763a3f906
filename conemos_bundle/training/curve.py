"""The curve of a training, as a table: per epoch masks, time, loss, learning rate, validation Dice, false positives."""

from __future__ import annotations

import csv
import logging
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import torch
from conemos_bundle.data.sides import name_some
from conemos_bundle.files import write_in_one_step
from conemos_bundle.names import region_name
from conemos_bundle.utils.records import Amount, Number, Share, Strict, read_table
from ignite.engine import Engine, Events
from pydantic import ConfigDict, Field, model_validator

logger = logging.getLogger(__name__)
CURVE = "curve.csv"
OF_REGION = "validation_dice_"
FALSE_POSITIVES = "val_false_positive_ml"


class Curve:
    """Write ``curve.csv`` into the run's folder: one row per epoch, also over interruptions; warn of regions not found.

    Put it after `MaskCount` and before `Checkpoint` in the list: whoever is killed between curve and checkpoint does
    the epoch, and its row, again.

    ``masks`` is how many annotated (image, region) masks the steps have learned from, over all epochs and processes;
    empty in a run that began with a version that did not count them.

    ``seconds`` is the time spent in training steps since the first (loading included, validation not), over all
    sessions of the run. ``false_positive_ml_<region>`` is there for regions that are absent from a validation scan.

    Args:
        output_dir: folder of the run.
        optimizer: its first group's learning rate is noted.
        evaluator: the validation engine; None: no validation.
        regions: names of the K regions, in channel order.
        metric: name of the validation metric.
    """

    def __init__(
        self,
        output_dir: str,
        optimizer: torch.optim.Optimizer,
        evaluator: Engine | None = None,
        regions: Sequence[str] = (),
        metric: str = "val_mean_dice",
    ) -> None:
        self.path = Path(output_dir) / CURVE
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.regions = list(regions)
        self.metric = metric
        self.losses: list[torch.Tensor] = []  # read at the end of the epoch: a GPU is not waited for at each step
        self.started = self.ended = 0.0

    def attach(self, engine: Engine) -> None:
        """Follow the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self._completed)

    def _completed(self) -> None:
        missed = never_found(read_curve(self.path))
        if missed:
            logger.warning(
                f"{self.path.parent}: nothing of {name_some(missed)} was found in the validation scans: train longer, "
                "or with more scans that show it"
            )

    def _epoch_started(self, engine: Engine) -> None:
        self.losses = []
        self.started = time.perf_counter()

    def _step(self, engine: Engine) -> None:
        self.losses.append(engine.state.output["loss"].detach())  # type: ignore[index]
        if engine.state.iteration % (engine.state.epoch_length or 1) == 0:
            self.losses[-1].item()  # waits for what a GPU still computes
        self.ended = time.perf_counter()

    def _epoch_completed(self, engine: Engine) -> None:
        earlier = [one for one in read_curve(self.path) if one.epoch < engine.state.epoch]
        rows = [one.model_dump(exclude_unset=True) for one in earlier]
        seconds = earlier[-1].seconds if earlier else 0.0
        masks = earlier[-1].masks if earlier else 0
        row: dict[str, Any] = {
            "epoch": engine.state.epoch,
            "step": engine.state.iteration,
            "masks": "" if masks is None else masks + engine.state.masks,  # type: ignore[attr-defined]
            "seconds": round(seconds + self.ended - self.started, 3),
            "loss": round(fmean(torch.stack(self.losses).tolist()), 6),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "validation_dice": "",
            **{f"{OF_REGION}{region}": "" for region in self.regions},
        }
        if self.evaluator is not None and self.evaluator.state.epoch == engine.state.epoch:
            row["validation_dice"] = round(float(self.evaluator.state.metrics[self.metric]), 6)
            means = self.evaluator.state.metric_details[self.metric].nanmean(dim=0).tolist()  # type: ignore[attr-defined]
            row.update({f"{OF_REGION}{r}": round(m, 6) for r, m in zip(self.regions, means, strict=True)})
            volumes = false_positives(self.evaluator, self.regions)
            row.update({f"false_positive_ml_{region}": round(volume, 6) for region, volume in volumes.items()})

        def write(part: Path) -> None:
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(dict.fromkeys([*(rows[-1] if rows else ()), *row])))
                writer.writeheader()
                writer.writerows([*rows, row])

        write_in_one_step(self.path, write)


def false_positives(evaluator: Engine, regions: Sequence[str]) -> dict[str, float]:
    """The ml predicted where a region is absent (mean over such scans), for each region that is absent somewhere."""
    details = getattr(evaluator.state, "metric_details", {}).get(FALSE_POSITIVES)
    if details is None:
        return {}
    means = details.nanmean(dim=0).tolist()
    return {region: mean for region, mean in zip(regions, means, strict=True) if not math.isnan(mean)}


class Epoch(Strict):
    """A row of ``curve.csv``; what is there of each region is extra."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Amount] = Field(init=False)

    epoch: Annotated[int, Field(ge=1, le=10**12)]
    step: Annotated[int, Field(ge=0, le=10**12)]
    masks: Number = None
    seconds: Annotated[float, Field(ge=0)]
    loss: Annotated[float, Field(allow_inf_nan=True)]  # of an epoch that failed
    learning_rate: Amount
    validation_dice: Share

    @model_validator(mode="after")
    def _of_a_region(self) -> Epoch:
        for column in self.model_extra or {}:
            found = re.match(r"(validation_dice|false_positive_ml)_(.+)", column)
            if found is None:
                raise ValueError(f"{column[:60]!r} is no column of a {CURVE}")
            region_name(found[2])
        return self


def read_curve(path: Path) -> list[Epoch]:
    """The rows of a ``curve.csv``; none where there is no such file.

    Raises:
        UserError: it cannot be read.
    """
    if not path.exists():
        return []
    return read_table(Epoch, path, "; put a copy back, or move it away")


def never_found(curve: Sequence[Epoch]) -> list[str]:
    """The regions whose Dice is 0 in the epoch that is best on validation.

    Args:
        curve: the rows of a training; without validation, nothing is said.
    """
    validated = (one for one in curve if one.validation_dice is not None)
    best = max(validated, key=lambda one: one.validation_dice or 0.0, default=None)
    of_regions = (best.model_extra or {}).items() if best else ()
    return [name.removeprefix(OF_REGION) for name, dice in of_regions if name.startswith(OF_REGION) and dice == 0]
