"""Running train.json with overlays, from Python."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from conemos_bundle.data.datalist import read_datalist, scans_folder
from conemos_bundle.errors import UserError
from conemos_bundle.files import one_writer
from conemos_bundle.training.overrides import reject_unknown_argument
from conemos_bundle.utils.config_files import check_settings, is_path_setting, overlay_files
from conemos_bundle.utils.paths import bundle_folder, without_folders
from monai.bundle import ConfigWorkflow

_of_workflow: ContextVar[ExitStack | None] = ContextVar("_of_workflow", default=None)
_of_process: dict[Path, AbstractContextManager[None]] = {}  # what `python -m monai.bundle run` holds


def quiet_workflow(**options: Any) -> ConfigWorkflow:
    """MONAI's workflow, which does not say that it was told to leave logging alone (``logging_file=False``)."""
    logger = logging.getLogger("monai.bundle.workflows")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return ConfigWorkflow(**options)
    finally:
        logger.setLevel(level)


def hold_folder(folder: str | os.PathLike[str], rank: int = 0) -> None:
    """A step of a configuration: keep other processes from writing into a folder (`one_writer`).

    Until the workflow of `run_training_config` ends, or the process.

    Args:
        folder: of the run.
        rank: this process among several; the first one holds the folder for all of them.

    Raises:
        UserError: another process is writing there.
        OutputError: the folder cannot be made or written to.
    """
    if rank > 0:
        return
    workflow, place = _of_workflow.get(), Path(folder).expanduser().absolute()
    if workflow is not None:
        workflow.enter_context(one_writer(place))
    elif place not in _of_process:
        _of_process[place] = one_writer(place)
        _of_process[place].__enter__()


def _is_folder(value: Any) -> bool:
    return isinstance(value, str | Path) and Path(value).is_absolute()  # else: an expression, or relative


def _shared_config(config: Any) -> bytes:
    """A configuration as it is kept in the run's folder, which others may see: without paths of this machine."""
    folders: dict[str, Any] = {"RUN": config.get("output_dir"), "DATA": config.get("dataset_dir")}
    datalist = config.get("datalist")
    if not _is_folder(folders["DATA"]) and datalist is not None:  # the datalist says
        folders["DATA"] = scans_folder(datalist, read_datalist(datalist))
    folders = {name: folder for name, folder in folders.items() if _is_folder(folder)}
    folders["BUNDLE"] = bundle_folder()
    plain = json.loads(json.dumps(config, default=str))
    return json.dumps(without_folders(plain, folders), indent=4, ensure_ascii=False).encode()


def run_training_config(
    overlays: Sequence[str],
    options: Mapping[str, Any],
    logging_file: bool = True,
    finished: Callable[[Mapping[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Run train.json with overlays.

    Args:
        overlays: see `overlay_files`.
        options: settings by name (``a::b`` goes inside). Texts are evaluated by MONAI; those of ``…_dir`` and
            ``…_path`` are paths and are not.
        logging_file: set up logging as ``configs/logging.conf`` says.
        finished: called with what is returned, while the folder is still held; after an evaluation of which single
            scans failed, too.

    Returns:
        where it wrote: ``output_dir``, ``evaluation_dir``, ``ckpt_path``, as far as the configuration has them.

    Raises:
        UserError: there is no such overlay or setting, or what the workflow says.
    """
    files = overlay_files(overlays)
    check_settings(list(options), files)
    configs = bundle_folder() / "configs"
    workflow = quiet_workflow(
        workflow_type="train",
        config_file=[str(file) for file in files],
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf") if logging_file else False,
        bundle_root=str(bundle_folder()),
    )
    for option, value in options.items():
        reject_unknown_argument(workflow.parser.config, option)
        if is_path_setting(option) and isinstance(value, int | float):
            raise UserError(f"--{option} {value}: a number is no path; pass a text")
        # a text that begins with "$" would be evaluated: paths go in as objects
        is_path = is_path_setting(option) and isinstance(value, str)
        workflow.parser[option] = Path(value).expanduser() if is_path else value
    workflow.parser["resolved_config"] = _shared_config(workflow.parser.config)
    with ExitStack() as held:
        outer = _of_workflow.set(held)
        try:
            workflow.initialize()
            try:
                workflow.run()
            except Exception:
                if finished is not None:
                    finished(_places(workflow))
                raise
            if finished is not None:
                finished(_places(workflow))
            workflow.finalize()
        finally:
            _of_workflow.reset(outer)
    return _places(workflow)


def _places(workflow: ConfigWorkflow) -> dict[str, Any]:
    names = [name for name in ("output_dir", "evaluation_dir", "ckpt_path") if name in workflow.parser]
    return {name: workflow.parser.get_parsed_content(name) for name in names}
