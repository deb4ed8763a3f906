"""The handlers of a training, in the one order that works."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.data.sampling import RegionSampler
from conemos_bundle.data.sides import warn_of_flips
from conemos_bundle.errors import UsageError
from conemos_bundle.networks.interface import unwrapped
from conemos_bundle.runs.run import RunRecord, identity
from conemos_bundle.training.calibration import Calibration
from conemos_bundle.training.checkpoint import Checkpoint
from conemos_bundle.training.curve import Curve
from conemos_bundle.training.mask_count import MaskCount
from conemos_bundle.training.pretrained import weights_file
from conemos_bundle.training.progress import Progress, describe_training
from conemos_bundle.training.schedule import TimedCosine
from conemos_bundle.training.set_epoch import SetEpoch
from conemos_bundle.training.settings import recorded, unchangeable
from conemos_bundle.training.tensorboard import tensorboard_handlers
from conemos_bundle.training.time_limit import TimeLimit
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.handlers import LrScheduleHandler, ValidationHandler
from torch import nn


class TrainerHandlers:
    """All handlers of the trainer, attached in their order.

    The draws of the epoch first; the schedule, per step; what ends it when its time is over; validation, every
    ``val_interval`` epochs and after the last, before those that read its metric; the count of
    masks before the curve, which reads it; the curve before the checkpoint, so that whoever is killed between the two
    writes the row again; the checkpoint, which refuses another run's folder when training starts, before the record of
    this one; the calibration when all is done. Curve, record, progress and TensorBoard are the first process's alone;
    every process counts masks and loads the checkpoint.

    It stands in a list of its own, since MONAI looks for a `ValidationHandler` in the list and adds trackers to it.

    Args:
        output_dir: folder of the run.
        datalist: the data set.
        plan: see `plan_input`.
        network: the network.
        optimizer: its optimizer.
        scheduler: of the learning rate.
        sampler: of the training.
        evaluator: the validation engine.
        validation_data: the scans to validate on; without any there is no validation.
        settings: ``settings`` of the configuration.
        val_interval: epochs between validations.
        inside: see `RunRecord`.
        resume: see `Checkpoint`.
        extra_modules: see `Checkpoint`.
        config: see `RunRecord`.
        rank: this process among several.
        pretrained_path: of the weights that the training begins with, see `load_pretrained`.
    """

    def __init__(
        self,
        output_dir: str,
        datalist: Datalist,
        plan: dict[str, Any],
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        sampler: RegionSampler,
        evaluator: SupervisedEvaluator,
        validation_data: Sequence[Any],
        settings: Mapping[str, Any],
        val_interval: int = 1,
        inside: dict[str, str] | None = None,
        resume: bool = True,
        extra_modules: Mapping[str, nn.Module] | None = None,
        config: bytes | None = None,
        rank: int = 0,
        pretrained_path: str | os.PathLike[str] | None = None,
    ) -> None:
        validator = evaluator if validation_data else None
        started_with = identity(datalist, **unchangeable(settings), plan=plan, network=unwrapped(network).arguments)
        before = None if pretrained_path is None else weights_file(pretrained_path).parent
        is_first = rank == 0
        limit = scheduler if isinstance(scheduler, TimedCosine) else None
        if settings.get("minutes") is not None and limit is None:
            raise UsageError(
                f"--minutes: the learning rate of this configuration ({type(scheduler).__name__}) does not go by time; "
                "leave out --minutes, or the overlay"
            )
        if limit is not None and extra_modules:
            raise UsageError("--minutes: the mean teacher's weight rises with steps; give --max_epochs instead")
        if is_first:
            warn_of_flips(datalist.regions, settings.get("flip_probability", ()))
        handlers: list[Any] = [
            SetEpoch(sampler),
            LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),  # type: ignore[arg-type]
            TimeLimit(limit) if limit is not None else None,
            ValidationHandler(val_interval, evaluator, epoch_level=True) if validator is not None else None,
            MaskCount(),
            Curve(output_dir, optimizer, validator, datalist.regions) if is_first else None,
            Checkpoint(
                output_dir, network, optimizer, scheduler, validator, identity=started_with, resume=resume,
                also=extra_modules,
            ),
            RunRecord(output_dir, datalist, plan, network, recorded(settings), inside, config, before)
            if is_first
            else None,
            Progress(validator, datalist.regions, limit=limit, about=describe_training(datalist, plan, settings))
            if is_first
            else None,
            Calibration(output_dir, network, evaluator) if validator is not None and is_first else None,
            *tensorboard_handlers(output_dir, rank=rank),
        ]  # fmt: skip
        self.handlers = [handler for handler in handlers if handler is not None]

    def attach(self, engine: Engine) -> None:
        """Attach each to the trainer."""
        for handler in self.handlers:
            if isinstance(handler, ValidationHandler):
                engine.add_event_handler(Events.EPOCH_COMPLETED(event_filter=every_and_last(handler.interval)), handler)
            else:
                handler.attach(engine)
        for handler in self.handlers:
            if isinstance(handler, TimeLimit):
                engine.add_event_handler(Events.STARTED, handler.resumed)  # after the checkpoint


def every_and_last(interval: int) -> Callable[[Engine, int], bool]:
    """A filter of epochs: each ``interval``-th, and the last."""
    return lambda engine, epoch: epoch % interval == 0 or epoch == engine.state.max_epochs


class ValidationLog:
    """TensorBoard of the validation engine, in the first process.

    Args:
        output_dir: folder of the run.
        rank: this process among several.
    """

    def __init__(self, output_dir: str, rank: int = 0) -> None:
        self.handlers = tensorboard_handlers(output_dir, validation=True, rank=rank)

    def attach(self, engine: Engine) -> None:
        """Follow the evaluator."""
        for handler in self.handlers:
            handler.attach(engine)
