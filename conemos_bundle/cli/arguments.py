"""What becomes of the texts of the command line: names and paths stay texts, whatever they look like.

Most readers take ``2024_01_05`` for the number 20240105 and ``1e3`` for 1000.0. Here the annotation of an argument
decides: ``str`` is taken as it stands, lists and dictionaries keep their names as they stand, the rest are values of
Python. Settings of a configuration (``**options``) are paths where `is_path_setting` says so.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from conemos_bundle.utils.values import value_of


def names_of(text: str) -> list[str]:
    """``a,b``, ``[a, b]`` or ``['a','b']`` as a list of names; no name has commas, brackets or quotes in it."""
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("[]", "()"):
        inner = inner[1:-1]
    return [name.strip().strip("'\"") for name in inner.split(",") if name.strip()]


def _dictionary(text: str, read: Callable[[str], Any]) -> Any:
    """``{'liver': [1, 2], 1: 3}`` with its keys as they are written; what is no dictionary is a list of names.

    Raises:
        ValueError: a key is not one name, or stands in it twice.
    """
    text = text.strip()
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        return names_of(text)
    if not isinstance(tree, ast.Dict):
        return names_of(text)
    names = [names_of("" if key is None else ast.get_source_segment(text, key) or "") for key in tree.keys]
    if wrong := [name for name in names if len(name) != 1]:
        raise ValueError(f"{text!r}: {','.join(wrong[0])!r} is not one name; write {{'name': values, 'other': values}}")
    return _one_each(
        [name for (name,) in names], [read(ast.get_source_segment(text, value) or "") for value in tree.values], text
    )


def _one_each(keys: list[str], values: list[Any], text: str) -> dict[str, Any]:
    """A dictionary that loses nothing.

    Raises:
        ValueError: a key stands in it twice.
    """
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"{text!r}: {twice[0]!r} stands twice; write it once")
    return dict(zip(keys, values, strict=True))


def values_of(text: str) -> Any:
    """A dictionary from names to label values, or a list of names."""
    return _dictionary(text, value_of)


def pairs_of(text: str) -> dict[str, str]:
    """``spleen=lien,liver=hepar``, or ``{'spleen': 'lien'}``, as a dictionary from names to names.

    Raises:
        ValueError: it is neither.
    """
    found = _dictionary(text, lambda value: (names_of(value) or [""])[0])
    if isinstance(found, dict):
        return found
    pairs = [tuple(name.strip().strip("'\"") for name in pair.split("=")) for pair in found]
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ValueError(f"{text!r} is no pair of names; write a=b, or a=b,c=d")
    return _one_each([pair[0] for pair in pairs], [pair[1] for pair in pairs], text)
