"""What a misspelled name may have meant."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from conemos_bundle.errors import UsageError


def suggestion(name: str, known: Sequence[str]) -> str:
    """``" (did you mean …?)"`` with the known name that is nearest, or nothing where none is near."""
    by_case = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), by_case, n=1)
    return f" (did you mean {by_case[near[0]]}?)" if near else ""


def check_path(path: str, is_folder: bool | None = None) -> Path:
    """The path, if it is there.

    Args:
        path: of the command line; ``~`` is the user's folder.
        is_folder: True: a folder, False: a file, None: either.

    Raises:
        UsageError: it is not there, or of the other kind; names what lies beside it under a similar name.
    """
    file = Path(path).expanduser()
    try:
        if file.is_dir() if is_folder else file.is_file() if is_folder is not None else file.exists():
            return file
        kind = "folder" if is_folder else "file"
        if file.exists():
            raise UsageError(f"{path}: is no {kind}")
        beside = [each.name for each in file.parent.iterdir()] if file.parent.is_dir() else []
    except (OSError, ValueError) as error:  # no permission, or a name that no system takes
        raise UsageError(f"{path}: cannot be read ({error})") from error
    raise UsageError(f"{path}: no such {kind}{suggestion(file.name, beside)}")


def match_region(name: str, known: Sequence[str]) -> str:
    """The known region of that name, in upper or lower case.

    Raises:
        UsageError: there is none.

    Example::

        >>> match_region("Anterior", ["anterior", "posterior"])
        'anterior'
    """
    text = unicodedata.normalize("NFC", name)
    if text in known:
        return text
    by_case = {unicodedata.normalize("NFC", each.casefold()): each for each in known}
    key = unicodedata.normalize("NFC", text.casefold())
    if key in by_case:
        return by_case[key]
    raise UsageError(f"region {text!r} is unknown{suggestion(text, known)}; this model knows: {', '.join(known)}")
