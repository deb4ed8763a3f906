"""A report's page: its template filled in, its style, and what it may load, which is nothing."""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UsageError, printable
from conemos_bundle.files import reject_unwritable, write_in_one_step
from conemos_bundle.utils.version import __version__
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

REPORT = "report.html"
MOST_ROWS = 1000  # of a table: a browser shows more than that, but nobody reads it


def reject_unwritable_report(path: str | os.PathLike[str]) -> None:
    """Before any work: whether a report can be written.

    Args:
        path: of the file, which is replaced where it exists.

    Raises:
        UsageError: it does not end in ``.html`` (another file would be overwritten), or is a folder.
        OutputError: its folder cannot be made or written to.

    Example::

        >>> reject_unwritable_report("check.html")
        >>> reject_unwritable_report("datalist.json")
        Traceback (most recent call last):
        conemos_bundle.errors.UsageError: datalist.json: a report's name ends in .html
    """
    file = Path(path).expanduser()
    if file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path}: a report's name ends in .html")
    if file.is_dir():
        raise UsageError(f"{path}: is a folder, where the report shall be written; choose another file")
    reject_unwritable(file.parent)


def render(template: str, **content: Any) -> str:
    """A page of a template in ``templates/``; every text in ``content`` is escaped.

    Raises:
        UndefinedError: the template asks for what ``content`` has not.
    """
    pages = Environment(
        loader=PackageLoader("conemos_bundle.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = pages.loader.get_source(pages, "style.css")[0] if pages.loader else ""
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    page = pages.get_template(f"{template}.html.jinja")
    return page.render(style=Markup(style), allowed=allowed, version=__version__, now=now, **content)  # noqa: S704


def write_page(path: Path, template: str, **content: Any) -> Path:
    """Write a page (`render`), whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_in_one_step(path, partial(Path.write_text, data=render(template, **content), encoding="utf-8"))
    return path


def _printable(value: Any) -> Any:
    """No control characters, and no letters that turn the line around; a macro's markup stays as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
