"""`conemos train` and `conemos evaluate`: the bundle's workflows in one line."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from conemos_bundle.data.datalist import SPLITS
from conemos_bundle.errors import UserError
from conemos_bundle.paths import bundle_folder
from monai.bundle import ConfigWorkflow


def _run(overlays: list[str], workflow_type: str, options: dict[str, Any]) -> None:
    """Run train.json with overlays: files of ``configs/``, by name, or any JSON file, by path."""
    configs = bundle_folder() / "configs"
    files = [configs / "train.json"]
    for overlay in overlays:
        named = [configs / f"{overlay}.json", configs / "methods" / f"{overlay}.json"]
        found = [file for file in [Path(overlay).expanduser(), *named] if file.is_file()]
        if not found:
            raise UserError(f"{overlay}: no such overlay; name one of {configs} or a JSON file")
        files.append(found[0])
    logging_file = str(configs / "logging.conf")
    workflow = ConfigWorkflow(
        workflow_type=workflow_type,
        config_file=[str(file) for file in files],
        meta_file=str(configs / "metadata.json"),
        logging_file=logging_file,
        bundle_root=str(bundle_folder()),
    )
    for option, value in options.items():
        top = option.split("::")[0].split("#")[0]
        if top not in workflow.parser:
            raise UserError(f"--{option}: no such setting in {', '.join(file.name for file in files)}")
        # a text that begins with "$" would be evaluated: paths go in as objects
        workflow.parser[option] = Path(value).expanduser() if option.endswith(("_dir", "_path")) else value
    workflow.parser["resolved_config"] = json.dumps(workflow.parser.config, indent=4, default=str).encode()
    logging.getLogger("ignite").setLevel(logging.WARNING)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def train(datalist: str, overlay: str | list[str] = (), **options: Any) -> None:  # type: ignore[assignment]
    """Train on a datalist; `python -m monai.bundle run training --config_file configs/train.json` in one line.

    Args:
        datalist: the datalist.
        overlay: names of overlays in ``configs/`` or ``configs/methods/``, such as ``paper`` or ``psl_loss``, or paths
            of JSON files.
        options: any setting of the configuration: ``--dataset_dir DIR --output_dir DIR --max_epochs 10 …``

    Raises:
        UserError: something in the datalist or the options is wrong.
    """
    overlays = [overlay] if isinstance(overlay, str) else list(overlay)
    _run(overlays, "train", {"datalist": Path(str(datalist)), **options})


def evaluate(datalist: str, run: str | None = None, split: str = "test", **options: Any) -> None:
    """Evaluate a finished run on a split: Dice and SD95 a scan and region, a summary and pictures.

    Args:
        datalist: the datalist.
        run: folder of the run (or a bundle's ``models/``); default: ``runs/<name>``, where training wrote.
        split: ``training``, ``validation`` or ``test``.
        options: any setting of the configuration: ``--dataset_dir DIR --evaluation_dir DIR …``

    Raises:
        UserError: something in the datalist, the run or the options is wrong.
    """
    if split not in SPLITS:
        raise UserError(f"--split {split!r}: use one of {', '.join(SPLITS)}")
    if run is not None:
        options["ckpt_path"] = Path(str(run)).expanduser() / "model.pt"
    _run(["evaluate"], "train", {"datalist": Path(str(datalist)), "split": split, **options})
