"""The settings of train.json for ``conemos train --help``: names, defaults and meaning; and those of an evaluation."""

from __future__ import annotations

import json
import textwrap

from conemos_bundle.utils.config_files import overlay_names
from conemos_bundle.utils.paths import bundle_folder

WIDTH = 100
# what evaluate.json, laid over train.json, still reads, where a user may want it otherwise; None: said there
_OF_EVALUATION = {
    "dataset_dir": None,
    "output_dir": "folder of the run, where --run is not given; default: runs/ and the data set's name",
    "ckpt_path": "weights beside their run.json, where --run is not given",
    "evaluation_dir": "folder to write into; default: evaluation_ and the split, in that of the run",
    "inside": "which region lies inside which other; default: what the run says",
    "device": None,
    "bfloat16": "compute in bfloat16, faster on some devices and less exact",
    "channels_last": None,
}
_BESIDE = {"bundle_root", "datalist", "fraction", "seed"}  # read too, and of the command itself or of no consequence


def described_settings() -> dict[str, tuple[str, str]]:
    """Of each setting of train.json its default, as a text, and its meaning."""
    config = json.loads((bundle_folder() / "configs" / "train.json").read_text(encoding="utf-8"))
    told = config.get("_desc_", {})
    return {name: (_default(config.get(name)), meaning) for name, meaning in told.items()}


def settings_of_evaluation() -> dict[str, tuple[str, str]]:
    """The same for what has a say in an evaluation."""
    config = json.loads((bundle_folder() / "configs" / "evaluate.json").read_text(encoding="utf-8"))
    known = described_settings()
    return {
        name: (_default(config[name]) if name in config else known[name][0], told or known[name][1])
        for name, told in _OF_EVALUATION.items()
    }


def unread_by_evaluation() -> set[str]:
    """Settings of a training that an evaluation takes from the run, or has no use for."""
    return set(described_settings()) - set(_OF_EVALUATION) - _BESIDE


def _default(value: object) -> str:
    computed = (isinstance(value, dict) and "_target_" in value) or (isinstance(value, str) and value[:1] in "$@%")
    return "" if computed or value is None else json.dumps(value)


def settings_help(evaluation: bool = False) -> str:
    """A table of the settings, and of overlays where there is a choice; ``\\b`` keeps typer from wrapping it.

    Args:
        evaluation: those of `conemos evaluate`.
    """
    settings = settings_of_evaluation() if evaluation else described_settings()
    first, key = ("device cpu", "validate::inferer::mode whole") if evaluation else (
        "max_epochs 10", "train::dataset::cache disk",
    )  # fmt: skip
    lines = ["\b", f"Settings of the configuration, such as --{first}:"]
    for name, (default, meaning) in settings.items():
        text = f"{meaning} [default: {default}]" if default else meaning
        lines += textwrap.wrap(f"--{name:18} {text}", WIDTH, initial_indent="  ", subsequent_indent=" " * 23)
    lines.append(f"Any other key of the configuration by its path, such as --{key}.")
    if not evaluation:
        lines += textwrap.wrap(f"Overlays: {', '.join(overlay_names())}", WIDTH, subsequent_indent="  ")
    return "\n".join(lines)
