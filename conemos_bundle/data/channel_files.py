"""Scans whose channels lie in a file each."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from conemos_bundle.data.datalist import scan_name

logger = logging.getLogger(__name__)
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<number>\d{4})")  # nnU-Net's names


class ScanFiles(NamedTuple):
    """A scan's files, one per channel or one for all; its name; why it cannot be segmented, or nothing."""

    files: tuple[Path, ...]
    name: str
    problem: str = ""


def group_channels(
    files: Sequence[Path], channels: int, one_channel: Callable[[Path], bool], listed: bool
) -> list[ScanFiles]:
    """Which files are one scan, for a network that takes ``channels`` of them.

    Files of one channel belong together where they are named CASE_0000, CASE_0001, …, as nnU-Net does; the others are
    one scan, its channels in the order given, where they were listed one by one and are as many as the channels.

    Args:
        files: scan files and DICOM folders.
        channels: that the network takes; with 1, every file is a scan.
        one_channel: whether a file has one channel.
        listed: the files were named one by one, not found in a folder.
    """
    if channels == 1:
        return [ScanFiles((file,), scan_name(str(file))) for file in files]
    scans: list[ScanFiles] = []
    cases: dict[tuple[Path, str], dict[int, Path]] = {}
    others: list[Path] = []
    for file in files:
        named = _CHANNEL.fullmatch(scan_name(str(file)))
        if not one_channel(file):
            scans.append(ScanFiles((file,), scan_name(str(file))))
        elif named is not None and int(named["number"]) not in cases.get((file.parent, named["case"]), {}):
            cases.setdefault((file.parent, named["case"]), {})[int(named["number"])] = file
        else:
            others.append(file)
    for (_, case), its in cases.items():
        lacking = [f"{case}_{number:04d}" for number in range(channels) if number not in its]
        extra = [file.name for number, file in sorted(its.items()) if number >= channels]
        found = tuple(its[number] for number in sorted(its))
        problem = f"{found[0]}: the network takes {channels} channels, and "
        if lacking:
            scans.append(ScanFiles(found, case, f"{problem}{lacking[0]} is missing beside it"))
        elif extra:
            scans.append(ScanFiles(found, case, f"{problem}{extra[0]} is one too many"))
        else:
            scans.append(ScanFiles(found, case))
    if listed and len(others) == channels:
        logger.warning(f"{', '.join(map(str, others))}: taken as the {channels} channels of one scan, in this order")
        scans.append(ScanFiles(tuple(others), scan_name(str(others[0]))))
        others = []
    hint = f"name the {channels} files of one scan in the order of training, or call them CASE_0000, CASE_0001, …"
    scans += [
        ScanFiles((file,), scan_name(str(file)), f"{file}: has 1 channel, the network takes {channels}; {hint}")
        for file in others
    ]
    return scans
