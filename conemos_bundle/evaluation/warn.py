"""What makes an evaluation look better or worse than the run is: said before it begins."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.errors import UserError
from conemos_bundle.runs.record import RECORD, read_run
from conemos_bundle.runs.subjects import scans_seen
from conemos_bundle.runs.weights import CHECKPOINT

logger = logging.getLogger(__name__)
_OF_SPLIT = {"training": "was trained", "validation": "was chosen"}


def warn_of_run(weights: str | os.PathLike[str], datalist: Datalist, split: str, rank: int = 0) -> None:
    """A step of a configuration: warn of scans that the run has seen, and of a run that is not finished.

    Args:
        weights: path of ``model.pt``.
        datalist: the data set.
        split: that is evaluated.
        rank: this process among several; the first one warns.
    """
    if rank > 0:
        return
    for line in (_seen(Path(weights).parent, datalist, split), unfinished(Path(weights).parent)):
        if line:
            logger.warning(line)


def _seen(folder: Path, datalist: Datalist, split: str) -> str:
    seen, unknown = scans_seen(folder, datalist, split), ""
    if split in _OF_SPLIT:
        unknown = f"{folder}: the {split} scans are not new to the run, if it {_OF_SPLIT[split]} with this datalist"
    if seen is None:
        return unknown
    told = zip((seen.trained, seen.chosen), _OF_SPLIT.values(), strict=True)
    least = "" if seen.complete or seen.trained + seen.chosen == seen.scans else "at least "
    parts = [
        f"{least}{count} of {seen.scans} {split} scans are of subjects that the run {did} on"
        for count, did in told
        if count
    ]
    if not parts:
        return "" if seen.complete else unknown
    return f"{folder}: {', '.join(parts)}; their Dice says little about new scans"


def unfinished(folder: Path) -> str:
    """A line where a run's checkpoint says fewer epochs than were asked for; else an empty one.

    Args:
        folder: of the run.
    """
    try:
        settings = read_run(folder / RECORD).settings
    except UserError:  # said where the record is needed
        return ""
    asked, done = settings.get("max_epochs"), _epochs_done(folder / CHECKPOINT)
    if settings.get("minutes") is not None:  # by the clock: how many epochs fit was not known
        return ""
    if not isinstance(asked, int) or done is None or done >= asked:
        return ""
    return f"{folder}: not finished, {done} of {asked} epochs are done; the same 'conemos train' goes on"


def _epochs_done(checkpoint: Path) -> int | None:
    """What a checkpoint says; None where there is none that can be read."""
    if not checkpoint.is_file():
        return None
    try:  # mapped: of some hundred MB a number is read
        epoch = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["epoch"]
    except Exception:  # torch.load raises whatever it likes on a broken file
        return None
    return epoch if isinstance(epoch, int) else None
