"""Values as they are typed."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_WORDS: Mapping[str, Any] = MappingProxyType({"true": True, "false": False, "null": None, "none": None})


def value_of(text: str) -> Any:
    """A value of Python, ``[4, 8]``, ``1e-3``, ``True`` (or ``true``), or the text where it is none.

    Bare words in brackets are texts: ``[paper, inside]`` is ``["paper", "inside"]``.
    """
    if text.strip().lower() in _WORDS:
        return _WORDS[text.strip().lower()]
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return _literal(tree)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return text


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return _WORDS.get(node.id.lower(), node.id)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        values = [_literal(each) for each in node.elts]
        return values if isinstance(node, ast.List) else tuple(values) if isinstance(node, ast.Tuple) else set(values)
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise ValueError("no value")
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    return ast.literal_eval(node)
