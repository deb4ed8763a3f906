"""`conemos train` and `conemos evaluate`: the bundle's workflows in one line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from conemos_bundle.data.datalist import SPLITS
from conemos_bundle.errors import UserError
from conemos_bundle.training.workflows import run_training_config


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
    logging.getLogger("ignite").setLevel(logging.WARNING)
    run_training_config(overlays, {"datalist": Path(str(datalist)), **options})


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
    logging.getLogger("ignite").setLevel(logging.WARNING)
    run_training_config(["evaluate"], {"datalist": Path(str(datalist)), "split": split, **options})
