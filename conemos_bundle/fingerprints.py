"""Whether a result is still what would be computed now: hashes of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from conemos_bundle import __version__


def fingerprint(*parts: Any) -> str:
    """A hash of what a result depends on: JSON values and objects that print as what they are."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


def file_stamps(value: Any) -> list[Any]:
    """Size and time of change of each file, and of the files of each folder, that is named in an item of a data set."""
    if isinstance(value, Mapping):
        return [stamp for key in sorted(value) for stamp in file_stamps(value[key])]
    if isinstance(value, list | tuple):
        return [stamp for each in value for stamp in file_stamps(each)]
    if not isinstance(value, str) or not os.path.isabs(value) or not os.path.exists(value):
        return []
    files = sorted(Path(value).rglob("*")) if os.path.isdir(value) else [Path(value)]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def model_and_settings(weights: str | os.PathLike[str], **settings: Any) -> dict[str, Any]:
    """What a prediction depends on beside the scan: the weights (as a hash), settings, and versions.

    Args:
        weights: path of ``model.pt``; one that is not there, as where a host brings the network, has no hash.
        settings: how inference is done, as JSON.
    """
    file = Path(weights)
    model = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    return {**settings, "model": model, "versions": [version("torch"), version("monai"), __version__]}
