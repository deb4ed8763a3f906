"""Checkpoints: written in one step, best on validation and last; training resumes from them exactly."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step
from ignite.engine import Engine, Events
from torch import nn

logger = logging.getLogger(__name__)


def save_in_one_step(content: Any, path: Path) -> None:
    """`torch.save` in one step: whoever is killed meanwhile leaves the old file whole."""
    write_in_one_step(path, lambda part: torch.save(content, part))


def plain(network: nn.Module) -> nn.Module:
    """The network inside `DistributedDataParallel`, or the network itself."""
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network


class Checkpoint:
    """Save training each epoch and resume it (a handler of the trainer; after `ValidationHandler` in the list).

    ``checkpoint.pt`` holds all that training needs to go on; ``model.pt`` the flat state_dict of the epoch with the
    best validation metric (the last one's where there is no validation).

    Args:
        output_dir: folder of the run.
        network: the network.
        optimizer: its optimiser.
        scheduler: the learning rate's schedule.
        evaluator: the validation engine, whose ``state.metrics[metric]`` decides; None: no validation.
        metric: name of the metric; larger is better.
        identity: what must not change between the parts of one run (regions, data, seed).
        resume: go on from ``checkpoint.pt`` where there is one; else refuse to overwrite it.
        also: other modules that training needs to go on, such as a teacher, by name.
    """

    def __init__(
        self,
        output_dir: str,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        evaluator: Engine | None = None,
        metric: str = "val_mean_dice",
        identity: dict[str, Any] | None = None,
        resume: bool = True,
        also: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self.folder = Path(output_dir)
        self.network = network
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.evaluator = evaluator
        self.metric = metric
        self.identity = identity or {}
        self.resume = resume
        self.also = dict(also or {})
        self.best: float | None = None
        self.best_epoch = 0
        self._best_weights: dict[str, torch.Tensor] | None = None

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self.folder / "checkpoint.pt"

    def attach(self, engine: Engine) -> None:
        """Resume when training starts, save after each epoch."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def load(self, engine: Engine) -> None:
        """Resume.

        Raises:
            UserError: the folder holds another run's checkpoint, or one that cannot be read.
        """
        if not self.path.exists():
            return
        if not self.resume:
            raise UserError(f"{self.path}: exists; pass another --output_dir, or --resume True to go on with it")
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            identity = dict(saved["identity"])
        except Exception as error:  # torch.load raises whatever it likes on a broken file
            raise UserError(
                f"{self.path}: cannot be read; remove it to start anew, or pass another --output_dir"
            ) from error
        for key, value in self.identity.items():
            if identity.get(key) != value:
                raise UserError(
                    f"{self.path}: belongs to a run with other {key} ({identity.get(key)}, now {value}); "
                    "pass another --output_dir"
                )
        try:
            self._take(engine, saved)
        except Exception as error:  # whatever torch makes of fields that are missing or of another type
            raise UserError(
                f"{self.path}: is no checkpoint of this training; remove it to start anew, or pass another --output_dir"
            ) from error
        self._mend_model(engine)
        logger.info(f"resumed after epoch {saved['epoch']} (step {saved['iteration']}) from {self.path}")

    def _take(self, engine: Engine, saved: dict[str, Any]) -> None:
        plain(self.network).load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        for name, module in self.also.items():
            module.load_state_dict(saved["also"][name])
        epoch, iteration, best, best_epoch = (saved[key] for key in ("epoch", "iteration", "best", "best_epoch"))
        counts = (epoch, iteration, best_epoch)
        if not all(type(count) is int and count >= 0 for count in counts) or not isinstance(best, float | None):
            raise ValueError("counts that are none")
        if epoch > (engine.state.max_epochs or epoch):
            raise ValueError("more epochs than there are")
        self.best, self.best_epoch = best, best_epoch
        engine.state.epoch, engine.state.iteration = epoch, iteration
        is_best = self.best is None or self.best_epoch == epoch
        self._best_weights = saved["network"] if is_best else saved.get("best_network")

    def save(self, engine: Engine) -> None:
        """Save the epoch; the best model first, so that whoever is killed in between does the epoch again.

        Raises:
            UserError: a weight is NaN or infinite.
        """
        if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
            return
        value = self._validated(engine)
        if not all(bool(parameter.isfinite().all()) for parameter in self.network.parameters()):
            raise UserError(
                f"{self.path}: not written: the weights are no longer finite after epoch {engine.state.epoch}; start "
                "again in another --output_dir, with a lower --learning_rate or --bfloat16 False"
            )
        weights = {name: tensor.detach().cpu() for name, tensor in plain(self.network).state_dict().items()}
        if value is not None and (self.best is None or value > self.best):
            self.best, self.best_epoch = value, engine.state.epoch
            is_best = True
        else:
            is_best = value is None and self.best is None
        if is_best:
            self._best_weights = {name: tensor.clone() for name, tensor in weights.items()}
            save_in_one_step(weights, self.folder / "model.pt")
        content = {
            "network": weights,
            "best_network": None if is_best else self._best_weights,  # model.pt, should that be lost
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "also": {name: module.state_dict() for name, module in self.also.items()},
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "identity": self.identity,
        }
        save_in_one_step(content, self.path)

    def _mend_model(self, engine: Engine) -> None:
        """Write ``model.pt`` again where it is lost or damaged.

        Raises:
            UserError: training is over, and a checkpoint of an earlier version does not hold the best epoch's weights.
        """
        file = self.folder / "model.pt"
        if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
            return
        try:
            torch.load(file, map_location="cpu", weights_only=True)
            return
        except Exception as error:  # torch.load raises whatever it likes on a broken file
            if self._best_weights is not None:
                save_in_one_step(self._best_weights, file)
                logger.info(f"{file}: written again, from {self.path}")
            elif engine.state.epoch < (engine.state.max_epochs or 0):
                self.best = None  # the next epoch writes it
            else:
                raise UserError(
                    f"{file}: cannot be read, and {self.path} does not hold the best epoch's weights; train again, in "
                    "another --output_dir"
                ) from error

    def _validated(self, engine: Engine) -> float | None:
        """This epoch's validation metric, or None where none was computed."""
        if self.evaluator is None or self.evaluator.state.epoch != engine.state.epoch:
            return None
        value = float(self.evaluator.state.metrics[self.metric])
        return None if value != value else value
