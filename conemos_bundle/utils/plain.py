"""Texts of other people in Markdown, tables and pictures: shown as they are, never as markup, formula or link."""

from __future__ import annotations

import html
import re

import matplotlib
import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what a spreadsheet computes


def markdown_text(text: object) -> str:
    """A text on one line of Markdown, without headings, HTML, links or cells of its own."""
    return re.sub(r"([\[\]|`])", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def cell(text: str) -> str:
    """A text as a cell of a CSV file: behind an apostrophe, where a spreadsheet would compute it (`from_cell`)."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """The text that `cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `cell` of all of its texts."""
    return table.map(lambda value: cell(value) if isinstance(value, str) else value)


# for functions that draw: "$" in a name begins no formula
no_formulas = matplotlib.rc_context({"text.parse_math": False})
