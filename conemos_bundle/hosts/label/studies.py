"""MONAI Label's data store, so that no half of a file is in it, whenever the server is killed."""

from __future__ import annotations

import json
import os
import shutil
import types
from functools import partial
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step
from conemos_bundle.hosts.label.checks import IMAGES, checked_name
from conemos_bundle.utils.records import read_json

LIST = "datastore_v2.json"


def reject_strange_list(studies: str) -> None:
    """Refuse a folder whose ``datastore_v2.json``, which MONAI Label believes, leads out of it or cannot be read.

    Raises:
        UserError: so it is.
    """
    file = Path(studies, LIST)
    if not file.exists():
        return
    hint = "; put a copy back, or move it away: scans and labels are found again, but not what it knew of them"
    told = read_json(file, hint=hint)
    try:
        if told.get("images_dir", ".") not in ("", ".") or told.get("labels_dir", "labels") != "labels":
            raise UserError("its folders are others than '.' and 'labels'")
        for name, scan in told.get("objects", {}).items():
            checked_name("scan", name)
            for tag, data in {"final": scan["image"], **scan["labels"]}.items():
                checked_name("tag", tag)
                if data["ext"].lower() not in (*IMAGES, ".seg.nrrd") or not isinstance(data["info"], dict):
                    raise UserError(f"{name}: {data['ext'][:20]!r} is no extension of a scan")
    except UserError as error:
        raise UserError(f"{file}: {error}{hint}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{file}: is no list of MONAI Label's{hint}") from error


def write_whole_files(local: Any) -> None:
    """Let ``monailabel.datastore.local`` write images, labels and its own ``datastore_v2.json`` in one step.

    A label that was cut off would be trained on, and with half a ``datastore_v2.json`` the server does not start.
    """
    if isinstance(local.shutil, types.SimpleNamespace):
        return
    local.shutil = types.SimpleNamespace(copy=_copy)
    of_a_folder = local.LocalDatastore

    def update(self: Any, lock: bool = True) -> None:
        if lock:
            with local.FileLock(self._lock_file):
                update(self, lock=False)
            return
        content = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
        file = Path(self._datastore_config_path)
        write_in_one_step(file, lambda part: part.write_text(content, encoding="utf-8"))
        self._config_ts = os.stat(file).st_mtime

    of_a_folder._update_datastore_file = update


def see_moved_files(datastore: Any) -> None:
    """Have the store that watches its folder see files that come by being moved there, as whole ones do."""
    handler = getattr(datastore, "_handler", None)
    if handler is not None:
        handler.on_moved = datastore._on_any_event


def _copy(source: str, target: str) -> None:
    write_in_one_step(target, partial(shutil.copyfile, source))
