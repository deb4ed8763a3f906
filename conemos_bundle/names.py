"""Names that become files: of regions, written into configurations too, and of data sets; safe on any system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated

from conemos_bundle.errors import UserError
from pydantic import AfterValidator, TypeAdapter, ValidationError

SPLITS = ("training", "validation", "test")
MOST_REGIONS = 4096
MOST_LETTERS, MOST_BYTES = 64, 200  # with an ending, file systems take 255 bytes
_LETTERS = re.compile(r"[^\W_][\w .-]*")
# letters and marks that nobody sees
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
# Windows takes these for devices, whatever follows the first point
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


def region_name(name: str) -> str:
    """The name in Unicode's composed form (NFC): macOS and a keyboard may write one name in different ways.

    Raises:
        ValueError: it could be no file name on Linux, macOS or Windows, or a configuration would evaluate it.
    """
    try:
        name = unicodedata.normalize("NFC", name)
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise ValueError("a region's name is not Unicode text") from error
    shown = name if len(name) <= MOST_LETTERS else f"{name[:20]}…"
    letters = "".join(letter for letter in name if not unicodedata.category(letter).startswith("M"))  # vowel signs, …
    is_safe = _LETTERS.fullmatch(letters) and _LETTERS.match(name) and not _INVISIBLE.search(name)
    if not is_safe or name[-1] in " .":
        raise ValueError(
            f"region name {shown!r}: use letters, digits, spaces, '_', '-' and '.', starting with a letter or digit "
            "and not ending in a space or '.'"
        )
    if len(name) > MOST_LETTERS or size > MOST_BYTES:
        raise ValueError(f"region name {shown!r}: {len(name)} letters; use at most {MOST_LETTERS}")
    if _DEVICES.fullmatch(name):
        raise ValueError(f"region name {shown!r}: Windows keeps this name for a device; choose another one")
    if name.casefold() == "background":  # channel 0 of a label map, for MONAI and its hosts
        raise ValueError(f"region name {shown!r}: background is what belongs to no region; choose another one")
    return name


RegionName = Annotated[str, AfterValidator(region_name)]


def same_file(names: Sequence[str]) -> tuple[str, str] | None:
    """The first two names that are one, or differ by case alone, as file names on macOS and Windows do not."""
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name.casefold())
        if key in seen:
            return seen[key], name
        seen[key] = name
    return None


def told_apart(pair: tuple[str, str]) -> str:
    """What is wrong with two names that `same_file` found, as a verb and its object."""
    if pair[0] == pair[1]:
        return f"names the region {pair[0]!r} twice"
    return f"names {pair[0]!r} and {pair[1]!r}, which differ by case alone: one file on macOS and Windows"


def check_inside(inside: Mapping[str, str], regions: Sequence[str]) -> None:
    """Whether declared nesting is of these regions, and none lies inside itself, however long the chain.

    Raises:
        ValueError: it is not so.
    """
    known = set(regions)
    for region in (*inside, *inside.values()):
        if region not in known:
            raise ValueError(f"'inside' names {region!r}, which 'regions' does not")
    ends: set[str] = set()  # from here on no way leads back
    for inner in inside:
        way: dict[str, None] = {}
        while inner in inside and inner not in ends:
            if inner in way:
                raise ValueError(f"'inside' puts {inner!r} inside itself")
            way[inner] = None
            inner = inside[inner]
        ends.update(way)


def check_region_names(names: Sequence[object], where: str) -> list[str]:
    """The names, if they can be regions' names and differ.

    Raises:
        UserError: naming ``where`` they come from.
    """
    checked = []
    for name in names:
        try:
            checked.append(TypeAdapter(RegionName).validate_python(name, strict=True))
        except ValidationError as error:
            reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise UserError(f"{where}: {name!r} cannot name a region: {reason}") from error
    if pair := same_file(checked):
        raise UserError(f"{where}: {told_apart(pair)}")
    return checked


def folder_name(text: str, otherwise: str) -> str:
    """A text as the name of a folder: what could not be in one becomes ``_``; ``otherwise`` where nothing is left."""
    name = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text))[:MOST_LETTERS].strip("._-")
    try:
        return region_name(name)
    except ValueError:
        return otherwise
