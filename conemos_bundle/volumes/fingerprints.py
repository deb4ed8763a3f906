"""Whether a result is still what would be computed now: hashes of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from conemos_bundle.utils.version import __version__
from conemos_bundle.volumes import data_files
from conemos_bundle.volumes.dicom_files import is_dicom, is_seg
from torch import nn


def fingerprint(*parts: Any) -> str:
    """A hash of what a result depends on: JSON values and objects that print as what they are."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


_NO_FILES = ("subject", "name", "segment")  # of an item: texts, whatever they look like


def files_of(value: Any) -> list[Path]:
    """The files that are named in an item of a data set by absolute paths: of a folder, its DICOM files but our own
    SEGs; of a header alone (``.mhd``, ``.nhdr``), its voxels' too.

    Raises:
        UserError: a file in a folder cannot be read.
    """
    if isinstance(value, Mapping):
        return [file for key in sorted(value) if key not in _NO_FILES for file in files_of(value[key])]
    if isinstance(value, list | tuple):
        return [file for each in value for file in files_of(each)]
    if not isinstance(value, str) or not os.path.isabs(value) or not os.path.exists(value):
        return []
    if os.path.isdir(value):
        return sorted(file for file in Path(value).rglob("*") if file.is_file() and _is_slice(file, Path(value)))
    return data_files(value)


def _is_slice(file: Path, folder: Path) -> bool:
    """Whether a scan depends on a file: results may lie in its folder, and hidden files come and go."""
    if any(part.startswith(".") for part in file.relative_to(folder).parts) or not is_dicom(file):
        return False
    return not (file.name.endswith(".seg.dcm") and is_seg(file))


def file_stamps(value: Any) -> list[Any]:
    """Size and times of each of `files_of`: equal as long as nobody writes to them."""
    stats = [(file, file.stat()) for file in files_of(value)]
    return [[str(file), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for file, stat in stats]


def file_contents(value: Any) -> list[str]:
    """Path and hash of each of `files_of`."""
    return [f"{file} {_hash(file)}" for file in files_of(value)]


def model_and_settings(weights: str | os.PathLike[str], **settings: Any) -> dict[str, Any]:
    """What a prediction depends on beside the scan: the weights (as a hash), settings, and versions.

    Args:
        weights: path of ``model.pt``; one that is not there, as where a host brings the network, has no hash.
        settings: how inference is done, as JSON; a network stands for its class and arguments.
    """
    told = {
        name: [type(value).__name__, vars(value).get("arguments")] if isinstance(value, nn.Module) else value
        for name, value in settings.items()
    }
    return {**told, "model": weights_hash(weights), "versions": [version("torch"), version("monai"), __version__]}


def weights_hash(path: str | os.PathLike[str]) -> str:
    """A hash of the file; empty where there is none."""
    return _hash(Path(path)) if Path(path).is_file() else ""


def _hash(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(1 << 20):
            found.update(part)
    return found.hexdigest()
