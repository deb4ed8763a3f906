"""Data sets to import, of empty files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.cli.datalist import datalist
from conemos_bundle.data.datalist import Datalist, read_datalist
from conemos_bundle.errors import UserError


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for a data set; the commands run in another one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def imported(source: Path) -> Callable[..., Datalist]:
    """Writes files below ``source``, imports them with the options, reads the datalist.

    A file's content is its text (the importers look at the names of scans only), a dict for JSON without its keys of
    value None, or None for no file in its folder.
    """

    def write_and_import(files: dict[str, Any], **options: Any) -> Datalist:
        for name, content in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict):
                content = json.dumps({key: value for key, value in content.items() if value is not None})
            if content is not None:
                (source / name).write_text(content, encoding="utf-8")
        datalist(str(source), **options)
        return read_datalist(options.get("output", "datalist.json"))

    return write_and_import


@pytest.fixture
def refusal(imported: Callable[..., Datalist]) -> Callable[..., str]:
    """Writes and imports what must be refused; returns the one line, after which nothing may have been written."""

    def refused(files: dict[str, Any], **options: Any) -> str:
        with pytest.raises(UserError) as raised:
            imported(files, **options)
        assert "\n" not in str(raised.value)
        assert [path.name for path in Path.cwd().iterdir() if path.name != "x.nii"] == []
        return str(raised.value)

    return refused
