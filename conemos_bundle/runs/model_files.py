"""A model as users name it: a bundle's folder, a finished run, or nothing for the one that comes with this package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.runs.metadata import read_metadata
from conemos_bundle.runs.run import read_record
from conemos_bundle.runs.weights import load_weights
from conemos_bundle.utils.paths import bundle_folder


def model_settings(model: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """What inference.json must know of a model: of a bundle, where it is; of a finished run, all that its record says.

    Args:
        model: the folder of a bundle or of a finished run; None: the model of this package.

    Raises:
        UserError: the folder is neither.
    """
    folder = bundle_folder() if model is None else Path(model).expanduser()
    if (folder / "configs" / "inference.json").is_file():
        weights = folder / "models" / "model.pt"
        if not weights.is_file():
            raise UserError(f"{weights}: no such file; this bundle has no weights")
        load_weights(weights)
        _, region_names = read_metadata(folder / "configs" / "metadata.json")
        return {"bundle_root": folder, "region_names": region_names}
    if not (folder / "model.pt").is_file():
        raise UserError(f"{folder}: neither a bundle (configs/inference.json) nor a finished run (model.pt)")
    record = read_record(folder / "model.pt")
    load_weights(folder / "model.pt")
    return {
        "bundle_root": bundle_folder(),
        "ckpt_path": folder / "model.pt",
        "region_names": record["regions"],
        "inside": record.get("inside", {}),
        "spacing": record["plan"]["spacing"],
        "window": record["plan"]["patch_size"],
        "network_def": record["network"],
    }


def torch_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UserError: PyTorch knows none, or has it not on this machine.
    """
    try:
        return torch.zeros(1, device=str(name)).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not available here; use cpu, or leave it out") from error
