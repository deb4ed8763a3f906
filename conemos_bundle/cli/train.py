"""`conemos train` and `conemos evaluate`: the bundle's workflows in one line."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conemos_bundle.cli.next_step import say_next
from conemos_bundle.cli.runs_here import check_model_folder, name_runs
from conemos_bundle.cli.settings import unread_by_evaluation
from conemos_bundle.errors import UsageError
from conemos_bundle.names import folder_name
from conemos_bundle.utils.config_files import check_settings, overlay_files
from conemos_bundle.utils.nearest import check_path, suggestion

SPLITS = ("training", "validation", "test")


def train(datalist: str, overlay: str | list[str] = (), **options: Any) -> None:  # type: ignore[assignment]
    """Train on a datalist; the same command goes on with what was interrupted.

    Args:
        datalist: the datalist.
        overlay: names of overlays in ``configs/`` or ``configs/methods/``, such as ``paper`` or ``psl_loss``, or paths
            of JSON files.
        options: any setting of the configuration: ``--dataset_dir DIR --output_dir DIR --max_epochs 10 …``

    Raises:
        UserError: something in the datalist or the options is wrong.
    """
    overlays = [overlay] if isinstance(overlay, str) else list(overlay)
    _check(datalist, overlay_files(overlays, offered=True), options)

    from conemos_bundle.training.workflows import run_training_config

    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # what it tells of errors is raised too
    folder = str(run_training_config(overlays, {"datalist": Path(str(datalist)), **options})["output_dir"])
    print(f"training is complete: {folder} holds the weights (model.pt), their record (run.json) and curve.csv")
    say_next("evaluate", str(datalist), *_places(options), "--run", folder)


def evaluate(datalist: str, run: str | None = None, split: str = "test", **options: Any) -> None:
    """Evaluate a finished run on a split: Dice and SD95 per scan and region, a summary, pictures, a report (HTML).

    Args:
        datalist: the datalist.
        run: folder of the run (or a bundle's ``models/``); default: ``runs/<name>``, where training wrote.
        split: ``training``, ``validation`` or ``test``.
        options: any setting of the configuration: ``--dataset_dir DIR --evaluation_dir DIR …``

    Raises:
        UserError: something in the datalist, the run or the options is wrong.
    """
    if split not in SPLITS:
        raise UsageError(f"--split {split!r}: use one of {', '.join(SPLITS)}{suggestion(split, SPLITS)}")
    _check(datalist, overlay_files(["evaluate"]), options)
    _reject_unread(run, options)
    if run is not None:
        options["ckpt_path"] = check_model_folder(str(run), "--run") / "model.pt"
    _reject_no_run(str(datalist), run, options)

    from conemos_bundle.training.workflows import run_training_config

    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # what it tells of errors is raised too

    def report(done: Mapping[str, Any]) -> None:
        from conemos_bundle.reports.evaluated import write_evaluation_report

        file = write_evaluation_report(done["evaluation_dir"], done["ckpt_path"], split)
        if file is not None:
            print(f"report: {file}", flush=True)

    settings = {"datalist": Path(str(datalist)), "split": split, **options}
    done = run_training_config(["evaluate"], settings, finished=report)
    print(f"wrote {done['evaluation_dir']}")
    say_next("predict", "SCAN", "--model", str(Path(done["ckpt_path"]).parent))


def _check(datalist: str, files: list[Path], options: dict[str, Any]) -> None:
    """Refuse, before anything is loaded, what can be seen to be wrong."""
    check_settings(list(options), files, also=("overlay", "run", "split"))
    check_path(str(datalist), is_folder=False)
    if options.get("dataset_dir") is not None:
        check_path(str(options["dataset_dir"]), is_folder=True)


def _reject_unread(run: str | None, options: Mapping[str, Any]) -> None:
    """Refuse what would have no say: settings of training, and a second place of the weights."""
    for option in options:
        if option.lstrip("+") in unread_by_evaluation():
            raise UsageError(f"--{option}: is a setting of training, which an evaluation does not read; leave it out")
    places = [
        f"--{name}" for name in ("run", "ckpt_path", "output_dir") if {"run": run, **options}.get(name) is not None
    ]
    if len(places) > 1:
        raise UsageError(f"{' and '.join(places)}: each says which weights; give one of them")


def _reject_no_run(datalist: str, run: str | None, options: Mapping[str, Any]) -> None:
    """Refuse where there is nothing to evaluate; name the runs that could be meant."""
    if run is not None:
        folder, problem = Path(str(run)).expanduser(), f"{run}: holds no model.pt"
    elif "output_dir" in options or "ckpt_path" in options:
        return
    else:
        folder = Path("runs") / folder_name(_name_of(datalist), "run")
        problem = f"--run is missing, and {folder} holds no run"
    if not any((folder / name).is_file() for name in ("model.pt", "checkpoint.pt")):  # of these the workflow says more
        raise UsageError(f"{problem}{name_runs('--run') or '; train first'}")


def _name_of(datalist: str) -> str:
    """The data set's name, if the file says so in plain words; it is read with care when the workflow begins."""
    try:
        return str(json.loads(Path(datalist).expanduser().read_text(encoding="utf-8")).get("name", "data set"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return "data set"


def _places(options: dict[str, Any]) -> list[str]:
    return ["--dataset_dir", str(options["dataset_dir"])] if options.get("dataset_dir") is not None else []
