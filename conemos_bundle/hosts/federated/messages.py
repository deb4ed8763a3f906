"""What a site tells the server: a flat dictionary of arrays, held against what may be in it, and written down."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step

Task = Literal["describe", "train", "evaluate"]
Message = dict[str, npt.NDArray[np.generic]]
Shapes = Mapping[str, tuple[int, ...]]
SENT = "sent.csv"
# what a hospital may have; more would take the server's memory or time, or could not be recorded
_LIMITS: Mapping[str, tuple[float, float]] = {
    "channels": (1, 64), "spacing": (1e-3, 1e3), "extent": (1e-3, 1e5), "scans": (0, 1e6), "annotated": (0, 1e6),
    "steps": (0, 1e6), "masks": (0, 1e9), "dice": (0, 1),
}  # fmt: skip
_REAL = ("spacing", "extent", "dice")  # the others are counts
_WEIGHTS = (np.dtype(np.float32), np.dtype(np.int64))  # of networks here: weights, and how often a norm has averaged
_COLUMNS = ("round", "task", "key", "shape", "type", "bytes")


def numbers_of(task: Task, num_regions: int) -> dict[str, tuple[int, ...]]:
    """What is told besides weights, and its shapes; K regions.

    describe: channels, median spacing and extent (mm), number of scans with any mask, and of masks per region, each for
    training and validation. train: steps, masks seen per region, and, as in evaluate, the Dice per region of the
    weights that came, on the site's own validation scans, NaN where none has the region.
    """
    k = num_regions
    if task == "describe":
        return {"channels": (), "spacing": (3,), "extent": (3,), "scans": (2,), "annotated": (2, k)}
    return {"steps": (), "masks": (k,), "dice": (k,)} if task == "train" else {"dice": (k,)}


def check_message(message: Mapping[str, object], task: Task, num_regions: int, weights: Shapes) -> Message:
    """The message, if it holds these weights and counts and nothing else; called before it is sent and when it comes.

    Args:
        message: arrays by name.
        task: that it answers.
        num_regions: K.
        weights: shapes of the network's state_dict; told by ``train`` alone.

    Raises:
        UserError: a key is missing or there is one more, a value is no array of finite numbers or of another shape or
            type, or beyond what may be: a Dice is within 0 and 1, or NaN.
    """
    numbers = numbers_of(task, num_regions)
    expected = {**numbers, **(weights if task == "train" else {})}
    if message.keys() != expected.keys():
        wrong = sorted(map(str, message.keys() ^ expected.keys()))[0]
        raise UserError(f"{task}: the message {'has' if wrong in message else 'lacks'} {wrong[:80]!r}")
    checked: Message = {}
    for name, shape in expected.items():
        array = message[name]
        if not isinstance(array, np.ndarray) or array.shape != shape or not _is_of_type(name, array, name in numbers):
            raise UserError(f"{task}: {name[:80]!r} is no array of such numbers {shape}")
        known = array[~np.isnan(array)] if name == "dice" else array
        low, high = _LIMITS[name] if name in numbers else (-np.inf, np.inf)
        if not np.isfinite(known).all() or (known < low).any() or (known > high).any():
            raise UserError(f"{task}: {name[:80]!r} holds what is not finite, or not within {low:g} and {high:g}")
        checked[name] = array
    if task == "describe" and (checked["annotated"] > checked["scans"][:, None]).any():  # type: ignore[operator, index]
        raise UserError("describe: more scans are annotated than there are")
    return checked


def _is_of_type(name: str, array: npt.NDArray[np.generic], is_told: bool) -> bool:
    """Numbers as this machine has them: float32 weights, whole counts, other numbers in single or double precision."""
    if not is_told:
        return array.dtype in _WEIGHTS
    return array.dtype.isnative and array.dtype.kind in ("f" if name in _REAL else "iu") and array.itemsize <= 8


def log_sent(folder: Path, round_number: int, task: Task, message: Message) -> None:
    """Add to ``sent.csv`` in a site's folder each key of a message that is about to be sent: its shape, type and bytes.

    Raises:
        OutputError: it cannot be written; then nothing is sent.
    """
    file = folder / SENT
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    if not file.exists():
        table.writerow(_COLUMNS)
    for name, array in message.items():
        shape = "x".join(map(str, array.shape)) or "1"
        table.writerow((round_number, task, name, shape, array.dtype, array.nbytes))
    before = file.read_bytes() if file.exists() else b""
    write_in_one_step(file, partial(Path.write_bytes, data=before + text.getvalue().encode()))
