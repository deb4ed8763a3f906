"""Running a grid of experiments: train, evaluate and compare methods, on one machine or a cluster."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from conemos_bundle.data.datalist import read_datalist, scans_folder
from conemos_bundle.errors import UserError
from conemos_bundle.files import one_writer, write_in_one_step
from conemos_bundle.names import folder_name
from conemos_bundle.paper.grid import OWN_METHOD, Grid, PlannedRun, expand, read_grid
from conemos_bundle.reports.page import REPORT as PAGE
from conemos_bundle.utils.processes import NO_MODULES_OF_WORKING_DIRECTORY, commands_end_with_us
from conemos_bundle.utils.records import one_line, read_json
from pydantic import ValidationError

PATIENCE = 30  # seconds for Snakemake to end after Ctrl-C
_NO_MATTER = {"settings", "num_workers", "device", "cache", "cache_dir", "progress"}  # to what a run learns
SNAKEFILE = Path(__file__).parent / "workflow" / "Snakefile"


def run_experiments(
    source: str,
    output: str,
    methods: Sequence[str],
    seeds: Sequence[int],
    fractions: Sequence[float],
    conditioned: Sequence[int | None],
    dataset_dir: str | None,
    cores: int,
    threads: int,
    dry_run: bool,
    snakemake: str,
    settings: Mapping[str, Any],
) -> None:
    """Run a grid and write its report; arguments are those of `conemos experiments`.

    Raises:
        UserError: the source is neither a datalist nor a grid, there is no CoNeMOS on all training scans to compare
            with, or a run failed.
    """
    target = Path(str(output)).expanduser().absolute()
    grid = target / "grid.json"
    content = _grid(Path(str(source)), dataset_dir, methods, seeds, fractions, conditioned, threads, settings)
    _reject_no_reference(expand(content), target)
    with one_writer(target):
        _reject_other_settings(grid, content)
        text = json.dumps(content.model_dump(), indent=4) + "\n"
        write_in_one_step(grid, lambda part: part.write_text(text, encoding="utf-8"))
        runs = expand(read_grid(grid))
        print(f"{len(runs)} runs in {target}", flush=True)
        command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory", str(target)]
        command += ["--workflow-profile", "none"]  # ./profiles/default would be code
        command += ["--config", f"grid={grid}", f"output={target}", "--cores", str(cores)]
        # a finished run is finished, whatever has changed around it; a failed one does not stop the others
        command += ["--rerun-triggers", "mtime", "--rerun-incomplete", "--keep-going"]
        command += ["--nolock"]  # a lock of Snakemake's stays behind where it is killed; ours does not
        command += [*shlex.split(snakemake), *(["--dry-run"] if dry_run else [])]
        if _run(command):
            raise UserError(
                f"{target}: not all runs succeeded; their train.log and evaluate.log say why; then run this again"
            )
    if not dry_run:
        print(f"wrote {target / 'report'}")
        for page in sorted((target / "report").rglob(PAGE)):  # one a data set
            print(f"next: open {page}")


def _run(command: list[str]) -> int:
    """Run a command in a group of its own; where this process ends, all of the group does.

    Returns:
        its exit code.
    """

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    environment = {**os.environ, **commands_end_with_us(), **NO_MODULES_OF_WORKING_DIRECTORY}
    process = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603 (a list, never a shell)
    terminated = signal.signal(signal.SIGTERM, interrupt)
    try:
        return process.wait()
    except KeyboardInterrupt:
        _signal_group(process, signal.SIGINT)  # Snakemake cancels what it has submitted to a cluster
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        raise
    finally:
        _signal_group(process, signal.SIGKILL)
        signal.signal(signal.SIGTERM, terminated)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _reject_no_reference(runs: Sequence[PlannedRun], target: Path) -> None:
    """The report compares with CoNeMOS on all training scans; say so now, not after hours of training."""
    for data in sorted({run.folder.split("/")[0] for run in runs}):
        seeds = re.compile(rf"{re.escape(data)}/{OWN_METHOD}/seed\d+")
        done = (path.parent.relative_to(target).as_posix() for path in target.glob(f"{data}/{OWN_METHOD}/*/trained"))
        if not any(seeds.fullmatch(folder) for folder in (*(run.folder for run in runs), *done)):
            raise UserError(
                f"{data}: the report compares with {OWN_METHOD} on all training scans, all layers conditioned; "
                f"add that method, fraction 1, and no number of layers (null in a grid file)"
            )


def _reject_other_settings(file: Path, content: Grid) -> None:
    """A grid may grow in a folder; what a run of it was trained with may not change, or old runs would be reported."""
    if not file.is_file():
        return
    earlier = {run.folder: run for run in expand(read_grid(file))}
    for run in expand(content):
        before = earlier.get(run.folder)
        if before is None or not any((file.parent / run.folder).glob("[!.]*")):
            continue
        ours, theirs = ({**asdict(each)["settings"], **asdict(each)} for each in (run, before))
        differ = [key for key in {**theirs, **ours} if key not in _NO_MATTER and ours.get(key) != theirs.get(key)]
        if differ:
            raise UserError(
                f"{file.parent / run.folder}: was begun with {differ[0]} {theirs.get(differ[0])}, now "
                f"{ours.get(differ[0])}; pass another --output, or remove that run"
            )


def _grid(
    source: Path,
    dataset_dir: str | None,
    methods: Sequence[str],
    seeds: Sequence[int],
    fractions: Sequence[float],
    conditioned: Sequence[int | None],
    threads: int,
    settings: Mapping[str, Any],
) -> Grid:
    """The grid in a grid file, or made for a datalist, with absolute paths."""
    source = source.expanduser().absolute()
    content = read_json(source, " the datalist or grid")
    if isinstance(content, dict) and "datasets" in content:
        if settings:
            raise UserError(f"--{next(iter(settings))}: a grid file says its settings itself")
        return read_grid(source)
    data = read_datalist(source)
    name, folder = data.name, scans_folder(source, data, dataset_dir)
    runs = {
        "methods": _listed(methods),
        "seeds": _listed(seeds),
        "fractions": [float(fraction) for fraction in _listed(fractions)],
        "conditioned": _listed(conditioned),
    }
    content = {
        "datasets": {folder_name(name, "data"): {"datalist": str(source), "dataset_dir": str(folder)}},
        "settings": {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()},
        "runs": [runs],
        "threads": threads,
    }
    try:
        return Grid.model_validate(content)
    except ValidationError as error:
        raise UserError(f"--{one_line(error).removeprefix('settings.').removeprefix('runs.0.')}") from error


def _listed(value: Any) -> list[Any]:
    """What Fire made of ``a,b``, ``[a,b]`` or a single value, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]
