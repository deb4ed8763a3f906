"""Running train.json with overlays, from Python."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.overrides import has_setting, is_path_setting
from conemos_bundle.paths import bundle_folder
from monai.bundle import ConfigWorkflow


def overlay_files(overlays: Sequence[str]) -> list[Path]:
    """train.json and overlays: names of files in ``configs/`` or ``configs/methods/``, or paths of JSON files.

    Raises:
        UserError: there is no such overlay.
    """
    configs = bundle_folder() / "configs"
    files = [configs / "train.json"]
    for overlay in overlays:
        named = [configs / f"{overlay}.json", configs / "methods" / f"{overlay}.json"]
        found = [file for file in [Path(overlay).expanduser(), *named] if file.is_file()]
        if not found:
            raise UserError(f"{overlay}: no such overlay; name one of {configs} or a JSON file")
        files.append(found[0])
    return files


def run_training_config(overlays: Sequence[str], options: Mapping[str, Any], logging_file: bool = True) -> None:
    """Run train.json with overlays.

    Args:
        overlays: see `overlay_files`.
        options: settings by name (``a::b`` goes inside). Texts are evaluated by MONAI; those of ``…_dir`` and
            ``…_path`` are paths and are not.
        logging_file: set up logging as ``configs/logging.conf`` says.

    Raises:
        UserError: there is no such overlay or setting, or what the workflow says.
    """
    files = overlay_files(overlays)
    configs = bundle_folder() / "configs"
    workflow = ConfigWorkflow(
        workflow_type="train",
        config_file=[str(file) for file in files],
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf") if logging_file else False,
        bundle_root=str(bundle_folder()),
    )
    for option, value in options.items():
        if not has_setting(workflow.parser.config, option):
            raise UserError(f"--{option}: no such setting in {', '.join(file.name for file in files)}")
        if is_path_setting(option) and isinstance(value, int | float):
            raise UserError(f"--{option} {value}: a number is no path; pass a text")
        # a text that begins with "$" would be evaluated: paths go in as objects
        is_path = is_path_setting(option) and isinstance(value, str)
        workflow.parser[option] = Path(value).expanduser() if is_path else value
    workflow.parser["resolved_config"] = json.dumps(workflow.parser.config, indent=4, default=str).encode()
    workflow.initialize()
    workflow.run()
    workflow.finalize()
