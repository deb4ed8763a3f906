"""The settings of training's configuration files, read as plain JSON: to refuse a misspelled one without MONAI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UsageError, UserError
from conemos_bundle.utils.nearest import suggestion
from conemos_bundle.utils.paths import bundle_folder
from conemos_bundle.utils.records import read_json

_NO_OVERLAYS = {
    "train", "metadata", "inference", "batch_inference", "inference_trt", "evaluate", "multi_gpu_evaluate",
    "add_region", "label_unknown",
}  # fmt: skip
REGIONS_ARE_GIVEN = "training takes the regions and their order from the datalist, an evaluation from the run"
_OF_THE_DATA = ("regions", "region_names")  # channels have their names by order: another one would swap them in silence


def is_path_setting(name: str) -> bool:
    """Whether a setting of a configuration is a path, by its name."""
    return name.endswith(("_dir", "_path")) or name in ("datalist", "bundle_root")


def overlay_names() -> list[str]:
    """The overlays on train.json that come with the package."""
    configs = bundle_folder() / "configs"
    names = {file.stem for file in (*configs.glob("*.json"), *configs.glob("methods/*.json"))}
    return sorted(names - _NO_OVERLAYS)


def overlay_files(overlays: Sequence[str], offered: bool = False) -> list[Path]:
    """train.json and overlays: names of files in ``configs/`` or ``configs/methods/``, or paths of JSON files.

    Args:
        overlays: their names or paths.
        offered: take the names of `overlay_names` alone; others are for commands of their own.

    Raises:
        UsageError: there is no such overlay.
    """
    configs = bundle_folder() / "configs"
    files = [configs / "train.json"]
    for overlay in overlays:
        named = [configs / f"{overlay}.json", configs / "methods" / f"{overlay}.json"]
        names = overlay_names()
        named = [] if offered and overlay not in names else named
        found = [file for file in [Path(overlay).expanduser(), *named] if file.is_file()]
        if not found:
            raise UsageError(
                f"{overlay}: no such overlay{suggestion(overlay, names)}; use a JSON file or one of {', '.join(names)}"
            )
        files.append(found[0])
    return files


def has_setting(config: Any, option: str) -> bool:
    """Whether a configuration has a setting ``a`` or ``a::b``, or an ``a`` that takes ``b`` as a new argument.

    What lies behind a reference is not looked at.
    """
    *above, last = re.split("::|#", option.lstrip("+"))
    for part in [*above, last]:
        if isinstance(config, str):
            return config.startswith(("@", "$", "%"))
        if isinstance(config, list):
            config = {str(i): value for i, value in enumerate(config)}
        if not isinstance(config, dict):
            return False
        if part not in config:
            return part is last and "_target_" in config
        config = config[part]
    return True


def check_settings(options: Sequence[str], files: Sequence[Path], also: Sequence[str] = ()) -> None:
    """Refuse settings that none of the configuration files has.

    Args:
        options: names of settings, ``a`` or ``a::b``.
        files: train.json and overlays.
        also: what else may have been meant by a misspelled one.

    Raises:
        UserError: a file cannot be read.
        UsageError: naming the setting that is nearest; or it is one of the regions, which no setting changes.
    """
    configs = [_nested(_read(file)) for file in files]
    known = sorted(set().union(*configs) - {*_OF_THE_DATA})
    for option in options:
        if re.split("::|#", option.lstrip("+"))[-1] in _OF_THE_DATA:
            raise UsageError(f"--{option}: {REGIONS_ARE_GIVEN}; leave it out, or change the datalist")
        if not any(has_setting(config, option) for config in configs):
            names = ", ".join(file.name for file in files)
            near = suggestion(f"--{option}", [f"--{name}" for name in (*known, *also)])
            raise UsageError(f"--{option}: no such setting in {names}{near}")


def _read(file: Path) -> dict[str, Any]:
    config = read_json(file, " the settings", "; settings are read from JSON files")
    if not isinstance(config, dict):
        raise UserError(f'{file}: holds no settings by name; write {{"max_epochs": 3, …}}')
    return config


def _nested(config: dict[str, Any]) -> dict[str, Any]:
    """An overlay's ``{"a::b": 1}`` as ``{"a": {"b": 1}}``."""
    nested: dict[str, Any] = {}
    for key, value in config.items():
        *above, last = key.lstrip("+").split("::")
        inner = nested
        for part in above:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                break
        else:
            inner.setdefault(last, value)
    return nested
