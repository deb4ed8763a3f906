"""Packages that only some commands need: the extras of ``pyproject.toml``."""

from __future__ import annotations

from importlib.util import find_spec

from conemos_bundle.errors import UserError


def require_extra(package: str, extra: str, title: str | None = None) -> None:
    """Say in one line what to install where a package of an extra is missing.

    Args:
        package: its name in Python.
        extra: the extra of this package that brings it.
        title: what people call it; default: ``package``.

    Raises:
        UserError: it is not installed.
    """
    if find_spec(package) is None:
        raise UserError(f"{title or package} is not installed; pip install 'conemos-bundle[{extra}]'")
