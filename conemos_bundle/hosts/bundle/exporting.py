"""A bundle's network in formats that need neither MONAI nor this package."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError, find_user_error
from conemos_bundle.files import part_folder, publish, reject_no_room, shown
from conemos_bundle.hosts.bundle import exports
from conemos_bundle.hosts.bundle.formats import FORMATS, checked_formats
from conemos_bundle.hosts.bundle.hubs import follow_exports
from conemos_bundle.runs.run import network_of
from conemos_bundle.runs.weights import fit_weights, load_weights
from conemos_bundle.utils.records import read_json
from torch import nn


class ExportError(UserError):
    """There are formats that this network cannot be written in; all others are written."""


def export_bundle(folder: Path, formats: str | Sequence[str] = FORMATS) -> None:
    """Write ``models/model.ts``, ``model.pt2`` and ``model.onnx`` into a bundle, each compared with the network.

    Args:
        folder: the bundle's.
        formats: which of ``ts``, ``pt2`` and ``onnx``; ONNX needs ``pip install 'conemos-bundle[export]'``.

    Raises:
        UserError: no bundle, no such format, or a file that differs from the network by more than 1e-4.
        ExportError: PyTorch's exporters do not take the network.
    """
    asked = checked_formats(formats)
    file = folder / "configs" / "inference.json"
    if not file.is_file():
        raise UserError(f"{folder}: not a bundle (no configs/inference.json); 'conemos pack' makes one of a run")
    config = read_json(file)
    window = config.get("window") if isinstance(config, dict) else None
    if not isinstance(window, list) or not all(isinstance(side, int) for side in window) or "network_def" not in config:
        raise UserError(f"{file}: lacks network_def or window, three sides; 'conemos pack' writes both")
    network = network_of(config["network_def"]).eval()
    weights = folder / "models" / "model.pt"
    fit_weights(network, load_weights(weights), weights)
    failed = []
    for name in asked:
        path = folder / "models" / f"model.{name}"
        reject_no_room(path.parent, 4 * weights.stat().st_size + 2**20)  # TorchScript would end the process
        with _quiet(), part_folder(path.parent) as part:
            try:
                result = _export(name, folder, network, part / path.name, config)
            except Exception as error:
                if find_user_error(error) is not None:
                    raise
                failed.append(f"{name} ({_first_line(error)})")
                continue
            publish(part / path.name, path)
        print(
            f"wrote {shown(path)} ({os.path.getsize(path) / 2**20:.1f} MiB): differs by {result.difference:.1e}, "
            f"{result.seconds:.3f} s a window of all regions (PyTorch {result.network_seconds:.3f} s)"
        )
    follow_exports(folder, [f"model.{name}" for name in asked if (folder / "models" / f"model.{name}").is_file()])
    if failed:
        raise ExportError(
            f"{shown(folder)}: this network cannot be exported as {', '.join(failed)}; use another format"
        )


def _export(name: str, folder: Path, network: nn.Module, path: Path, config: dict[str, Any]) -> exports.Check:
    """Write one file; how it compares with the network."""
    window, factor = config["window"], 2 ** (len(network.arguments["channels"]) - 1)  # type: ignore[arg-type, index]
    if name == "pt2" and min(window) <= factor:  # torch.export takes a bottleneck of one voxel for another program
        raise ValueError(f"takes sides above {factor} voxels, and the patch has {min(window)}")
    if name == "ts":
        exported = exports.export_torchscript(folder, path)
    else:
        exported = (exports.export_pt2 if name == "pt2" else exports.export_onnx)(network, path)
    return exports.check(exported, network, network.arguments["in_channels"], window)  # type: ignore[arg-type, index]


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:120]


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters log and warn of what does not matter here, such as that torchvision is not installed."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
