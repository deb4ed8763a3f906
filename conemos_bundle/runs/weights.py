"""Weights from anybody: a flat dictionary of finite, dense, real tensors that fit their network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError
from torch import nn

CHECKPOINT = "checkpoint.pt"


def how_to_rebuild(path: str | os.PathLike[str]) -> str:
    """What mends a run's weights; empty where they are no run's."""
    checkpoint = Path(path).with_name(CHECKPOINT)
    return f"'conemos train' with the same arguments writes it again from {checkpoint}" if checkpoint.is_file() else ""


def load_tensors(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` has written, on the CPU: tensors and plain values, no code.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe or a device, which might never end.
        Exception: whatever torch makes of a broken file.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{path}: not a file")
    return torch.load(path, map_location="cpu", weights_only=True)


def check_weights(weights: object) -> dict[str, torch.Tensor]:
    """The weights, if a network can compute with them.

    Raises:
        ValueError: no flat state_dict, or one with NaN, infinite, complex or sparse tensors, or such without data.
    """
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in weights.items()
    ):
        raise ValueError("not a flat state_dict, which models/model.pt must be")
    for name, tensor in weights.items():
        dense = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not dense or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise ValueError(f"{name[:60]} is no dense tensor")
        if tensor.is_complex():
            raise ValueError(f"{name[:60]} is complex")
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name[:60]} is not finite")
    return dict(weights)  # without what torch keeps in an attribute of an OrderedDict


def load_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The flat state_dict of a ``model.pt``, on the CPU.

    Raises:
        UserError: the file cannot be read, or holds something else, as `check_weights` says.
    """
    try:
        weights = load_tensors(path)
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # torch.load raises whatever it likes on a broken file
        hint = how_to_rebuild(path) or "copy it again, or train again"
        raise UserError(f"{path}: cannot be read as weights; {hint}") from error
    try:
        return check_weights(weights)
    except ValueError as error:
        hint = how_to_rebuild(path) or "copy it again, or train again"
        raise UserError(f"{path}: {error}; {hint}") from error


def fit_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], path: str | os.PathLike[str]) -> None:
    """Give a network its weights; ``path`` is where they come from.

    Raises:
        UserError: they are another network's.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{path}: these weights are not of this network ({type(network).__name__}); take the run.json or "
            "configuration that they came with"
        ) from error


def model_file(folder: str | os.PathLike[str]) -> str:
    """The weights of the run in a folder."""
    return os.path.join(folder, "model.pt")
