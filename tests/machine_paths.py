"""What files that are handed on must not hold: folders of this machine, and who uses it."""

from __future__ import annotations

import getpass
import io
import re
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def of_this_machine() -> list[bytes]:
    """The folders of this process as they would show in a file, and the login name where it is no common word."""
    folders = {Path.home(), Path.cwd(), ROOT, Path(tempfile.gettempdir()), Path(sys.prefix), Path(sys.base_prefix)}
    texts = [f"{folder}/" for folder in folders if folder != Path(folder.anchor)]
    user = getpass.getuser()
    package = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "conemos_bundle").rglob("*.py"))
    if not re.search(rf"\b{re.escape(user)}\b", package):
        texts.append(user)
    return sorted(text.encode() for text in texts)


def entries(name: str, content: bytes) -> list[tuple[str, bytes]]:
    """A file, and each entry of it where it is a zip archive, as all exports but ONNX are; archives in it too."""
    found = [(name, content)]
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.namelist():
                found += entries(f"{name}!{entry}", archive.read(entry))
    return found


def machine_paths(file: Path) -> list[str]:
    """Where a file names this machine: its entries with what they hold."""
    texts = of_this_machine()
    return [
        f"{name}: {text.decode()}"
        for name, content in entries(file.name, file.read_bytes())
        for text in texts
        if text in content
    ]
