"""What pyproject.toml asks for, and what the lock files of requirements/ hold."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest's there

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "requirements"


def needed(extra: str | None = None) -> dict[str, Requirement]:
    """The package's dependencies, or those of an extra, by name; its own extras left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = project["optional-dependencies"][extra] if extra else project["dependencies"]
    requirements = [Requirement(text) for text in texts]
    return {canonicalize_name(each.name): each for each in requirements if each.name != "conemos-bundle"}


def locked(*locks: str) -> dict[str, str]:
    """Versions by package in lock files."""
    lines = "".join((LOCKS / f"{lock}.txt").read_text(encoding="utf-8") for lock in locks)
    return dict(re.findall(r"^([a-z0-9][^=\s]*)==([^\s;]+)", lines, re.MULTILINE))
