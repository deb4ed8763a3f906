"""Checkpoints: written in one step, best on validation and last; training resumes from them exactly."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step
from conemos_bundle.networks.interface import unwrapped
from conemos_bundle.runs.weights import CHECKPOINT, check_weights, load_tensors
from conemos_bundle.training.schedule import TimedCosine
from conemos_bundle.training.settings import began_with
from ignite.engine import Engine, Events
from torch import nn

logger = logging.getLogger(__name__)


def save_in_one_step(content: Any, path: Path) -> None:
    """`torch.save` in one step: whoever is killed meanwhile leaves the old file whole."""
    write_in_one_step(path, lambda part: torch.save(content, part))


def _equal(theirs: Any, ours: Any) -> bool:
    try:
        return bool(theirs == ours)
    except Exception:  # tensors have no one answer
        return False


def alike(saved: Any, ours: Any) -> bool:
    """Whether what was saved can take the place of ours: of its types, keys, lengths and shapes, with finite numbers,
    counts positive where ours are.
    """
    if isinstance(ours, Mapping):
        same = isinstance(saved, Mapping) and saved.keys() == ours.keys()
        return same and all(alike(saved[key], value) for key, value in ours.items())
    if isinstance(ours, list | tuple):
        same = type(saved) is type(ours) and len(saved) == len(ours)
        return same and all(map(alike, saved, ours))
    if isinstance(ours, torch.Tensor):
        return isinstance(saved, torch.Tensor) and saved.shape == ours.shape and saved.dtype == ours.dtype
    if isinstance(ours, int | float) and not isinstance(ours, bool):
        number = isinstance(saved, int | float) and not isinstance(saved, bool) and math.isfinite(saved)
        return number and saved >= 0 and (saved > 0 or ours <= 0 or isinstance(ours, float))
    return type(saved) is type(ours)


def _state_names(optimizer: torch.optim.Optimizer) -> set[str]:
    """What an optimizer keeps of each parameter, by a step of another one of its class."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    taken = inspect.signature(type(optimizer)).parameters  # AdamW's defaults have one that it does not take
    probe = type(optimizer)([parameter], **{name: value for name, value in optimizer.defaults.items() if name in taken})
    probe.step()
    return set(probe.state[parameter])


def _fits(value: Any, parameter: torch.Tensor) -> bool:
    """Whether it is a number, or one an element of a parameter."""
    shapes = (torch.Size([]), parameter.shape)
    return isinstance(value, torch.Tensor) and value.shape in shapes and bool(value.isfinite().all())


class Checkpoint:
    """Save training each epoch and resume it (a handler of the trainer; after `ValidationHandler` in the list).

    ``checkpoint.pt`` holds all that training needs to go on; ``model.pt`` the flat state_dict of the epoch with the
    best validation metric (the last one's where there is no validation).

    Args:
        output_dir: folder of the run.
        network: the network.
        optimizer: its optimizer.
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
        return self.folder / CHECKPOINT

    def attach(self, engine: Engine) -> None:
        """Resume when training starts, save after each epoch."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def load(self, engine: Engine) -> None:
        """Resume.

        Raises:
            UserError: the folder holds another run's checkpoint, or one that cannot be read.
        """
        if not self.path.exists() and (self.resume or not (self.folder / "model.pt").exists()):
            return
        if not self.resume:
            there = self.path if self.path.exists() else self.folder / "model.pt"
            raise UserError(f"{there}: exists; pass another --output_dir, or --resume True to go on with it")
        try:
            saved = load_tensors(self.path)
            identity = began_with(saved["identity"])
            _ = repr(identity)
        except Exception as error:  # torch.load raises whatever it likes on a broken file
            raise UserError(
                f"{self.path}: cannot be read; remove it to start anew, or pass another --output_dir"
            ) from error
        for key, value in self.identity.items():
            if not _equal(identity.get(key), value):
                theirs, ours = (str(each)[:200] for each in (identity.get(key), value))
                raise UserError(
                    f"{self.path}: belongs to a run with other {key} ({theirs}, now {ours}); pass another --output_dir"
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
        self._reject_others(engine, saved)
        unwrapped(self.network).load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        for name, module in self.also.items():
            module.load_state_dict(saved["also"][name])
        self.best, self.best_epoch = saved["best"], saved["best_epoch"]
        engine.state.epoch, engine.state.iteration = saved["epoch"], saved["iteration"]
        is_best = self.best is None or self.best_epoch == saved["epoch"]
        self._best_weights = saved["network"] if is_best else saved.get("best_network")

    def _reject_others(self, engine: Engine, saved: dict[str, Any]) -> None:
        """What optimizer and schedule would take without a word and trip over later, or never."""
        ours = unwrapped(self.network).state_dict()
        for weights in (saved["network"], saved.get("best_network")):
            if weights is not None and not alike(check_weights(weights), ours):
                raise ValueError("weights of another network")
        groups = {"param_groups": self.optimizer.state_dict()["param_groups"]}
        if not alike({"param_groups": saved["optimizer"]["param_groups"]}, groups):
            raise ValueError("another optimizer")
        parameters = [each for group in self.optimizer.param_groups for each in group["params"]]
        needed = _state_names(self.optimizer)
        for number, state in saved["optimizer"]["state"].items():
            if set(state) != needed or not all(_fits(value, parameters[number]) for value in state.values()):
                raise ValueError("another optimizer")
        if not alike(saved["scheduler"], self.scheduler.state_dict()):
            raise ValueError("another schedule")
        epoch, iteration, best, best_epoch = (saved[key] for key in ("epoch", "iteration", "best", "best_epoch"))
        counts = (epoch, iteration, best_epoch)
        if not all(type(count) is int and count >= 0 for count in counts) or not isinstance(best, float | None):
            raise ValueError("counts that are none")
        if best is not None and not math.isfinite(best):
            raise ValueError("a best metric that none can exceed")
        if epoch > (engine.state.max_epochs or epoch) or best_epoch > epoch:
            raise ValueError("more epochs than there are")
        whole = epoch * (engine.state.epoch_length or 0)
        cut_short = isinstance(self.scheduler, TimedCosine) and 0 < whole - iteration < (engine.state.epoch_length or 0)
        if iteration != whole and not cut_short:
            raise ValueError("steps of other epochs")

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
        weights = {name: tensor.detach().cpu() for name, tensor in unwrapped(self.network).state_dict().items()}
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
            check_weights(load_tensors(file))
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
