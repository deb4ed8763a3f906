"""MONAI Label's data store, so that no half of a file is in it, whenever the server is killed."""

from __future__ import annotations

import json
import os
import shutil
import types
from functools import partial
from pathlib import Path
from typing import Any

from conemos_bundle.files import write_in_one_step


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
