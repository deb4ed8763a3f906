"""The parts that a report is made of, whether it becomes Markdown or HTML, and how they are written in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from conemos_bundle.utils.plain import markdown_text


class Cell(NamedTuple):
    """A cell with more than its text: bold, or with a star behind it."""

    text: str
    is_bold: bool = False
    has_star: bool = False


class Table(NamedTuple):
    """A table; the first ``texts`` columns are aligned to the left, the others, numbers, to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    texts: int = 1


class Picture(NamedTuple):
    """A figure that lies in the report's folder."""

    file: str
    caption: str


class Files(NamedTuple):
    """Tables (CSV) in the report's folder with the numbers of a section."""

    names: Sequence[str]


class Section(NamedTuple):
    """A heading with what stands below it; a part that is a text is a paragraph."""

    heading: str
    parts: Sequence[str | Table | Picture | Files]


def markdown(table: Table) -> str:
    """A table in Markdown.

    Example::

        >>> print(markdown(Table(["method", "Dice"], [["ours", Cell("0.9", is_bold=True)], ["theirs", "0.8"]])), end="")
        | method | Dice |
        | --- | ---: |
        | ours | **0.9** |
        | theirs | 0.8 |
    """
    rule = ["---"] * table.texts + ["---:"] * (len(table.header) - table.texts)
    lines = [list(map(markdown_text, table.header)), rule, *([_cell(cell) for cell in row] for row in table.rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def section_markdown(section: Section) -> list[str]:
    """The blocks of a section in Markdown, its heading first."""
    return [f"## {section.heading}", *(_block(part).strip() for part in section.parts)]


def _cell(cell: str | Cell) -> str:
    if not isinstance(cell, Cell):
        return markdown_text(cell)
    text = markdown_text(cell.text)
    return (f"**{text}**" if cell.is_bold else text) + (r" \*" if cell.has_star else "")


def _block(part: str | Table | Picture | Files) -> str:
    if isinstance(part, Table):
        return markdown(part)
    if isinstance(part, Picture):
        caption = markdown_text(part.caption)
        return f"![{caption}]({part.file})\n\n*{caption}*"
    if isinstance(part, Files):
        return "Numbers: " + ", ".join(f"[{name}]({name})" for name in part.names)
    return markdown_text(part).replace("*", r"\*")
