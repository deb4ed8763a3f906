"""The formats that a bundle's network is exported in."""

from __future__ import annotations

from collections.abc import Sequence

from conemos_bundle.errors import UsageError
from conemos_bundle.utils.nearest import suggestion

FORMATS = ("ts", "pt2", "onnx")


def checked_formats(formats: str | Sequence[str]) -> list[str]:
    """Names of formats, from a list or a text with commas.

    Raises:
        UsageError: there is no such format, or none is named.
    """
    asked = [name.strip() for name in (formats.split(",") if isinstance(formats, str) else formats)]
    for name in asked or [""]:
        if name not in FORMATS:
            raise UsageError(f"--formats {name!r}: use some of {','.join(FORMATS)}{suggestion(name, FORMATS)}")
    return asked
