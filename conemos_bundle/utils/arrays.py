"""NumPy archives (``.npz``) from anybody: no pickles, no pipes, no archive that unpacks to more than it may."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

MOST_BYTES = 2**31


@contextmanager
def open_arrays(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> Iterator[np.lib.npyio.NpzFile]:
    """An archive's arrays, each read when it is asked for.

    Raises:
        ValueError: it is no file, or unpacks to more than ``most_bytes``.
        Exception: whatever NumPy makes of a broken archive.
    """
    if not os.path.isfile(path):
        raise ValueError(f"{path}: not a file")
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > most_bytes:
        raise ValueError(f"{path}: unpacks to {size} bytes, more than {most_bytes}")
    with np.load(path, allow_pickle=False) as file:
        yield file
