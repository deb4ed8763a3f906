"""Where the bundle's configurations and weights lie."""

from __future__ import annotations

from pathlib import Path


def bundle_folder() -> Path:
    """The folder of ``configs/`` and ``models/``: the repository's root, or this package where it is installed."""
    package = Path(__file__).resolve().parent
    return package if (package / "configs" / "train.json").is_file() else package.parent
