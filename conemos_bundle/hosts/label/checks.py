"""What a client of MONAI Label may name: scans, tags and files. Anything else is refused in one line.

MONAI Label joins names to paths, and opens any path that exists.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.requests import refuse
from conemos_bundle.utils.records import path_text

Answer = TypeVar("Answer")
IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha")
_SESSION = re.compile(r"[0-9a-f-]{36}")
_SEPARATORS = set('/\\:*?"<>|' if os.name == "nt" else "/\\")
_OWN = ("region_confidence", "strategy")  # what the server notes of a scan
_NAMES = ("image", "label", "id", "tag")


def checked_name(what: str, value: Any) -> str:
    """The name of a scan, a label or a tag: one part of a path, at most.

    Raises:
        UserError: it is no text, empty, hidden, longer than a file's name may be, or would lead elsewhere.
    """
    good = _is_path(value) and len(value.encode()) <= 250 and value == value.strip() and value.isprintable()
    if not good or value.startswith(".") or set(value) & _SEPARATORS:
        raise UserError(f"{what}: {str(value)[:80]!r} is no name here")
    return str(value)


def checked_file_name(what: str, value: Any, extensions: Sequence[str]) -> str:
    """The name of an uploaded file.

    Raises:
        UserError: `checked_name` refuses it, or it has none of the extensions.
    """
    name = checked_name(what, value)
    if not name.lower().endswith(tuple(extensions)):
        raise UserError(f"{what}: {name[:80]!r} is none of the files that are taken here: {', '.join(extensions)}")
    return name


def _is_path(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(path_text(text))
    except ValueError:
        return False


def checked_image(image: Any, folders: Sequence[str | os.PathLike[str]]) -> str:
    """The path of a scan in one of the folders, links followed.

    Raises:
        UserError: it is no path, there is no such file, or it lies elsewhere.
    """
    if not _is_path(image):
        raise UserError("image: give the name of one scan, as GET /datastore/ lists them")
    path = Path(os.path.realpath(image))
    if not any(path != Path(folder) and path.is_relative_to(os.path.realpath(folder)) for folder in folders):
        raise UserError(f"image: {image[:80]!r} is no scan of this server; GET /datastore/ lists them")
    if not path.exists():
        raise UserError(f"image: {image[:80]!r}: no such scan; GET /datastore/ lists them")
    return str(path)


def checked_json(what: str, text: Any) -> dict[str, Any]:
    """An object from JSON.

    Raises:
        UserError: it is none.
    """
    try:
        value = json.loads(text or "{}")
    except (TypeError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f'{what}: give a JSON object, say {{"regions": "…"}}')
    return value


def checked_endpoint(function: Callable[..., Answer], not_found: type[Exception]) -> Callable[..., Answer]:
    """A function of ``monailabel.endpoints`` that is called with checked arguments, and answers one line on errors.

    Args:
        function: what it does with a request that has been read.
        not_found: MONAI Label's own exception, for scans, labels and models that there are not.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Answer:
        try:
            for name, value in signature.bind(*arguments, **named).arguments.items():
                _check_argument(function.__name__, name, value)
            return function(*arguments, **named)
        except UserError as error:
            refuse(error)
        except not_found as error:
            refuse(UserError(str(getattr(error, "msg", error))[:200]), 404)

    return call


def _check_argument(function: str, name: str, value: Any) -> None:
    if name in ("params", "info") and isinstance(value, str):
        told = checked_json(name, value)
        if function in ("add_image", "update_image_info") and set(told) & set(_OWN):
            raise UserError(f"{name}: {' and '.join(_OWN)} are for the server itself")
    elif hasattr(value, "filename"):
        checked_file_name(name, value.filename or "image.nii.gz", (*IMAGES, ".bin") if name == "label" else IMAGES)
    elif name == "files":
        for file in value:
            checked_file_name("files", file.filename, IMAGES)
    elif name in _NAMES and isinstance(value, str) and value:
        checked_name(name, value)
    elif name == "session_id" and value and not _SESSION.fullmatch(str(value)):
        raise UserError("session_id: no such session")
    elif name == "uncompress" and value:
        raise UserError("uncompress: send the image itself; archives are not unpacked here")
    elif name == "run_sync" and value:
        raise UserError("run_sync: tasks run in a process of their own here; GET the same address says how one stands")
