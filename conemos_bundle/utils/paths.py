"""Where the bundle's configurations and weights lie, and paths in files that are shared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from conemos_bundle.errors import UserError

ABSOLUTE = r"(?:/|[A-Za-z]:[\\/]|\\\\)"  # how an absolute path begins, on Windows too


def bundle_folder() -> Path:
    """The folder of ``configs/`` and ``models/``: the repository's root, or this package where it is installed."""
    package = Path(__file__).resolve().parents[1]
    return package if (package / "configs" / "train.json").is_file() else package.parent


def examples_folder() -> Path:
    """The folder of the two scans that ship with the package: ``datalist.json``, ``images/``, ``labels/``.

    Raises:
        UserError: they are not there, as in a packed bundle.
    """
    folder = bundle_folder() / "examples"
    if not (folder / "datalist.json").is_file():
        raise UserError(f"{folder}: the example scans are not there; install the package again (pip install .)")
    return folder


def without_folders(value: Any, folders: Mapping[str, str | PurePath]) -> Any:
    """A JSON value whose texts tell nothing of the machine: no absolute path, so no user name either.

    Args:
        value: what `json.loads` gives.
        folders: what to write for which folder: ``{"DATA": "/data/ann"}`` makes ``DATA/a.nii.gz`` of
            ``/data/ann/a.nii.gz``. The longest one that fits counts. Of any other absolute path the last part
            is left, as ``…/a.nii.gz``.
    """
    if isinstance(value, dict):
        return {key: without_folders(each, folders) for key, each in value.items()}
    if isinstance(value, list):
        return [without_folders(each, folders) for each in value]
    if not isinstance(value, str):
        return value
    for name, folder in sorted(folders.items(), key=lambda item: len(str(item[1])), reverse=True):
        if value == str(folder) or value.startswith((f"{folder}/", f"{folder}\\")):
            return (name + value[len(str(folder)) :]).replace("\\", "/")
    if re.match(ABSOLUTE, value):
        return _last_part(value)
    # in an expression only what is quoted: "/" divides too
    return re.sub(rf"""(?<=['"]){ABSOLUTE}[^'"]+(?=['"])""", lambda found: _last_part(found[0]), value)


def _last_part(path: str) -> str:
    return f"…/{path.replace(chr(92), '/').rstrip('/').rpartition('/')[2]}"
