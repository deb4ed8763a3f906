"""A bundle's network in formats that need neither MONAI nor this package."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conemos_bundle.errors import UserError
from conemos_bundle.files import part_folder, publish, reject_no_room, shown
from conemos_bundle.hosts.bundle import exports
from conemos_bundle.runs.run import network_of
from conemos_bundle.runs.weights import fit_weights, load_weights
from conemos_bundle.utils.records import read_json

FORMATS = ("ts", "pt2", "onnx")


def export_bundle(folder: Path, formats: str | Sequence[str] = FORMATS) -> None:
    """Write ``models/model.ts``, ``model.pt2`` and ``model.onnx`` into a bundle, each compared with the network.

    Args:
        folder: the bundle's.
        formats: which of ``ts``, ``pt2`` and ``onnx``; ONNX needs ``pip install 'conemos-bundle[export]'``.

    Raises:
        UserError: no bundle, no such format, or a file that differs from the network by more than 1e-4.
    """
    asked = formats.split(",") if isinstance(formats, str) else list(formats)
    for name in asked:
        if name not in FORMATS:
            raise UserError(f"--formats {name!r}: use some of {','.join(FORMATS)}")
    file = folder / "configs" / "inference.json"
    if not file.is_file():
        raise UserError(f"{folder}: not a bundle (no configs/inference.json); 'conemos pack' makes one of a run")
    config = read_json(file)
    network = network_of(config["network_def"]).eval()
    weights = folder / "models" / "model.pt"
    fit_weights(network, load_weights(weights), weights)
    for name in asked:
        path = folder / "models" / f"model.{name}"
        reject_no_room(path.parent, 4 * weights.stat().st_size + 2**20)  # TorchScript would end the process
        with _quiet(), part_folder(path.parent) as part:
            if name == "ts":
                exported = exports.export_torchscript(folder, part / path.name)
            else:
                exported = (exports.export_pt2 if name == "pt2" else exports.export_onnx)(network, part / path.name)
            result = exports.check(exported, network, config["network_def"]["in_channels"], config["window"])
            publish(part / path.name, path)
        print(
            f"wrote {shown(path)} ({os.path.getsize(path) / 2**20:.1f} MiB): differs by {result.difference:.1e}, "
            f"{result.seconds:.3f} s a window of all regions (PyTorch {result.network_seconds:.3f} s)"
        )


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
