"""What becomes of the words of the command line: names and paths stay texts, whatever they look like.

Fire reads ``2024_01_05`` as the number 20240105 and ``1e3`` as 1000.0. Here the annotation of an argument decides:
``str`` is taken as it stands, lists and dictionaries keep their names as they stand, the rest is Fire's. Settings of a
configuration (``**options``) are paths where `is_path_setting` says so.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.training.overrides import is_path_setting
from fire import decorators, parser


def names_of(text: str) -> list[str]:
    """``a,b``, ``[a, b]`` or ``['a','b']`` as a list of names; no name has commas, brackets or quotes in it."""
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("[]", "()"):
        inner = inner[1:-1]
    return [name.strip().strip("'\"") for name in inner.split(",") if name.strip()]


def _dictionary(text: str, value_of: Callable[[str], Any]) -> Any:
    """``{'liver': [1, 2], 1: 3}`` with its keys as they are written; what is no dictionary is a list of names."""
    text = text.strip()
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        return names_of(text)
    if not isinstance(tree, ast.Dict):
        return names_of(text)
    written = [
        [names_of(ast.get_source_segment(text, key) or "")[0] for key in tree.keys if key is not None],
        [value_of(ast.get_source_segment(text, value) or "") for value in tree.values],
    ]
    return dict(zip(*written, strict=False))


def values_of(text: str) -> Any:
    """A dictionary from names to label values, or a list of names."""
    return _dictionary(text, parser.DefaultParseValue)


def pairs_of(text: str) -> Any:
    """A dictionary from names to names."""
    return _dictionary(text, lambda value: (names_of(value) or [""])[0])


# annotations as they are written, without "| None"
_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "str": str,
    "str | list[str]": names_of,
    "str | Sequence[str]": names_of,
    "Sequence[str]": names_of,
    "dict[str, int | list[int]] | list[str]": values_of,
    "dict[str, str]": pairs_of,
}


def keep_texts(command: Callable[..., Any], words: Sequence[str]) -> None:
    """Have Fire leave the texts among the arguments of a command as they are.

    Args:
        command: the function behind it; its annotations are texts (``from __future__ import annotations``).
        words: what was given to it on the command line.

    Raises:
        UserError: an option that takes a text is given none.
    """
    parsers: dict[str, Callable[[str], Any]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        found = _PARSERS.get(str(parameter.annotation).removesuffix(" | None"))
        if found is not None and parameter.kind is parameter.VAR_POSITIONAL:
            decorators.SetParseFn(found)(command)
        elif found is not None:
            parsers[name] = found
    for i, word in enumerate(words):
        option = re.match(r"--?([A-Za-z+][\w:#+-]*)(=?)", word)  # Fire takes both
        if option is None:
            continue
        name = option[1].replace("-", "_")
        if is_path_setting(name):
            parsers.setdefault(name, str)
        given = option[2] or (i + 1 < len(words) and not re.match(r"--?[A-Za-z]", words[i + 1]))
        if name in parsers and not given:  # Fire would take it for True
            raise UserError(f"--{option[1]}: needs a value")
    decorators.SetParseFns(**parsers)(command)
