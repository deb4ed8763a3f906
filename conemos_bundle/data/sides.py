"""Regions that name a side: a scan that is mirrored from left to right makes them wrong."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

logger = logging.getLogger(__name__)
MOST_NAMED = 4
_WORDS = re.compile(r"[^\W\d_]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])|\d+")  # LeftLung: Left, Lung
_SIDES = {"left", "right"}
_OTHER = {"l": "r", "r": "l", "lh": "rh", "rh": "lh", "lt": "rt", "rt": "lt"}  # short: where both are there


def with_side(regions: Sequence[str]) -> list[str]:
    """The regions whose names say left or right.

    Example::

        >>> with_side(["liver", "left kidney", "RightLung", "bright spot", "eye_l", "eye_r", "vertebra L"])
        ['left kidney', 'RightLung', 'eye_l', 'eye_r']
    """
    words = {region: tuple(word.casefold() for word in _WORDS.findall(region)) for region in regions}
    known = set(words.values())

    def has_side(its: tuple[str, ...]) -> bool:
        other = tuple(_OTHER.get(word, word) for word in its)
        return bool(_SIDES & set(its)) or (other != its and other in known)

    return [region for region, its in words.items() if has_side(its)]


def name_some(regions: Sequence[str]) -> str:
    """Some of the names, in quotes, and how many more there are."""
    more = f" and {len(regions) - MOST_NAMED} more" if len(regions) > MOST_NAMED else ""
    return ", ".join(map(repr, regions[:MOST_NAMED])) + more


def warn_of_flips(regions: Sequence[str], flip_probability: Sequence[float]) -> None:
    """Warn where training mirrors scans from left to right though regions name a side.

    Args:
        regions: names of the K regions.
        flip_probability: of mirroring each of the three axes; the first one is from left to right.
    """
    sided = with_side(regions)
    if sided and len(flip_probability) == 3 and flip_probability[0] > 0:
        rest = ", ".join(f"{probability:g}" for probability in flip_probability[1:])
        logger.warning(
            f"--flip_probability mirrors scans from left to right, but regions name a side ({name_some(sided)}): the "
            f"network is taught that left is right; use --flip_probability [0, {rest}]"
        )
