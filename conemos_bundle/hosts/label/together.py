"""Files of a served model that are replaced together: weights, record, configuration and history fit each other.

What is new lies in the folder ``next`` first, whole. From then on it counts: whoever is killed while it is moved to its
place is finished by the next who reads the model.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conemos_bundle.files import folder_in_one_step, one_at_a_time, publish

NEXT = "next"


@contextmanager
def of_one_model(folder: Path) -> Iterator[None]:
    """Read a served model's files in this block: none of them is replaced meanwhile.

    Args:
        folder: the bundle in the app, which exists.
    """
    with one_at_a_time(folder):
        _finish(folder)
        yield


def replace_together(folder: Path, files: Mapping[str, Callable[[Path], Any]]) -> None:
    """Replace files of a served model, all or none; one process at a time.

    Args:
        folder: the bundle in the app.
        files: functions that write to a path, by the files' places in the folder.

    Raises:
        OutputError: they cannot be written; nothing was replaced then.
    """
    with of_one_model(folder):
        pass
    with folder_in_one_step(folder / NEXT) as part:
        for place, write in files.items():
            (part / place).parent.mkdir(parents=True, exist_ok=True)
            write(part / place)
    with of_one_model(folder):
        pass


def _finish(folder: Path) -> None:
    new = folder / NEXT
    if new.is_dir():
        for file in sorted(path for path in new.rglob("*") if path.is_file()):
            publish(file, folder / file.relative_to(new))
        shutil.rmtree(new)
