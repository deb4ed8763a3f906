"""A report as a browser takes it: its tables, its texts, and whether it keeps to itself."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "link", "input", "line", "circle", "rect"}


class Page(HTMLParser):
    """``tables`` of rows of texts, ``pictures``, all ``text`` outside of the style, and the attributes by tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.pictures: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = self.style = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another one"

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            self.style += data
            return
        self.text += data
        if self._open and self._open[-1] != "tr" and {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data

    def table(self, heading: str) -> list[list[str]]:
        """The rows, as words with single spaces, of the first table with that heading of a column."""
        rows = next(table for table in self.tables if any(heading == " ".join(cell.split()) for cell in table[0]))
        return [[" ".join(cell.split()) for cell in row] for row in rows]


def read_page(path: Path) -> Page:
    """A page that is small, runs nothing, loads nothing, and whose policy lets its own style pass."""
    content = path.read_bytes()
    assert len(content) < 3_000_000
    page = Page(content.decode("utf-8"))
    assert not {"script", "iframe", "object", "link", "form", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("style", "srcset") for name in attributes), tag
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
    assert "url(" not in page.style and "@import" not in page.style
    allowed = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    policy = next(its["content"] for tag, its in page.tags if its.get("http-equiv") == "Content-Security-Policy")
    parts = set(policy.split("; "))
    assert {"default-src 'none'", "img-src data:", f"style-src 'sha256-{allowed}'"} <= parts
    assert "prefers-color-scheme: dark" in page.style and "max-width: 640px" in page.style
    return page
