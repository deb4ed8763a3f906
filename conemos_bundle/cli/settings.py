"""The settings of train.json for ``conemos train --help``: names, defaults and meaning."""

from __future__ import annotations

import json
import textwrap

from conemos_bundle.utils.config_files import overlay_names
from conemos_bundle.utils.paths import bundle_folder

WIDTH = 100


def described_settings() -> dict[str, tuple[str, str]]:
    """Of each setting of train.json its default, as a text, and its meaning."""
    config = json.loads((bundle_folder() / "configs" / "train.json").read_text(encoding="utf-8"))
    told = config.get("_desc_", {})
    return {name: (_default(config.get(name)), meaning) for name, meaning in told.items()}


def _default(value: object) -> str:
    computed = (isinstance(value, dict) and "_target_" in value) or (isinstance(value, str) and value[:1] in "$@%")
    return "" if computed or value is None else json.dumps(value)


def settings_help() -> str:
    """A table of the settings and overlays; ``\\b`` keeps typer from wrapping it."""
    lines = ["\b", "Settings of the configuration, such as --max_epochs 10:"]
    for name, (default, meaning) in described_settings().items():
        text = f"{meaning} [default: {default}]" if default else meaning
        lines += textwrap.wrap(f"--{name:18} {text}", WIDTH, initial_indent="  ", subsequent_indent=" " * 23)
    lines.append("Any other key of the configuration by its path, such as --train::dataset::cache disk.")
    lines += textwrap.wrap(f"Overlays: {', '.join(overlay_names())}", WIDTH, subsequent_indent="  ")
    return "\n".join(lines)
