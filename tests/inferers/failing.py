"""Scans that fail, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conemos_bundle.cli import predict
from conemos_bundle.errors import find_user_error


def fails(*sources: Path, run: Path, output: Path, **options: str) -> str:
    with pytest.raises(Exception, match=".") as error:
        predict(*map(str, sources), model=str(run), output=str(output), **options)
    found = find_user_error(error.value)
    assert found is not None and "\n" not in str(found)
    return str(found)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
