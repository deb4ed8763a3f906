"""Finished runs and their evaluations, found below a folder."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from conemos_bundle.errors import UserError
from conemos_bundle.evaluation.tables import METRICS, ROW_COLUMNS, read_rows, read_summary
from conemos_bundle.runs.record import RECORD, NetworkConfig, Run, read_run
from conemos_bundle.training.curve import CURVE, Epoch, read_curve
from conemos_bundle.training.defaults import decoder_convolutions
from conemos_bundle.training.settings import ALWAYS_LEARN_ALL

PER_SCAN = Path("evaluation_test") / "per_scan.csv"
RUN_COLUMNS = ("dataset", "method", "seed", "fraction", "n_conditioned", "usual_layers", "steps", "batch_size", "run")


@dataclass(frozen=True)
class EvaluatedRun:
    """A finished and evaluated run."""

    folder: Path
    record: Run  # run.json
    run: str  # the folder below the root, for messages and tables
    dataset: str
    method: str
    seed: int
    fraction: float  # of the training scans
    n_conditioned: int | None  # None: no FiLM
    usual_layers: bool  # conditioned: all with one mask per patch (the paper), else the decoder's (the default)
    steps: int  # of all runs alike, but where the time ended them
    batch_size: int
    minutes: float | None = None  # that training took, where that was the budget

    @property
    def budget(self) -> str:
        """Steps, or minutes, and the batch: what runs that are compared have in common."""
        amount = f"{self.steps:,} steps" if self.minutes is None else f"{self.minutes:g} minutes of steps"
        return f"{amount} of batch {self.batch_size}"

    @property
    def is_standard(self) -> bool:
        """Whether the run belongs to the comparison of methods: all training scans, the usual layers conditioned."""
        return self.fraction == 1 and self.usual_layers


def find_runs(root: str | os.PathLike[str], steps: int | None = None) -> list[EvaluatedRun]:
    """The finished and evaluated runs below a folder, in the order of their folders; others are printed and skipped.

    Args:
        root: the folder; a run is any folder with a ``run.json``.
        steps: only runs of this many training steps.

    Raises:
        UserError: there is no such run, a file of one cannot be read or lacks something, two runs are of the same
            experiment, or runs of one data set differ in steps, batch size or in what is annotated.
    """
    top = Path(root).expanduser()
    records = sorted(top.rglob(RECORD)) if top.is_dir() else []
    if not records:
        raise UserError(f"{root}: no run ({RECORD}) in this folder or below; name the folder that holds the runs")
    runs = [run for run in (_read_run(path.parent, top) for path in records) if run is not None]
    found = sorted({run.steps for run in runs})
    runs = [run for run in runs if steps is None or run.steps == steps]
    if not runs:
        of_steps = f" of {steps} steps (there are runs of {', '.join(map(str, found))})" if found else ""
        raise UserError(f"{root}: no finished and evaluated run{of_steps}; evaluate one with conemos evaluate")
    runs = _tell_apart(runs)
    _reject_twins(runs)
    _reject_budgets(runs)
    _reject_other_annotations(runs)
    return runs


def collect(root: str | os.PathLike[str], steps: int | None = None) -> pd.DataFrame:
    """The evaluations of all runs below a folder: `per_scan_rows` of `find_runs`."""
    return per_scan_rows(find_runs(root, steps))


def per_scan_rows(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """One row per run, scan and region.

    Returns:
        `RUN_COLUMNS` (``n_conditioned`` is missing without FiLM), then those of the evaluation: ``scan``, ``subject``,
        ``region``, ``dice``, ``sd95_mm``, ``sd95_voxels`` and the volumes in ml; metrics without a value are NaN.

    Raises:
        UserError: a table cannot be read, or runs of one data set are evaluated on different scans or regions.
    """
    tables = []
    evaluated: dict[str, tuple[EvaluatedRun, set[tuple[str, str]]]] = {}
    for run in runs:
        rows = read_rows(run.folder / PER_SCAN, run.record.regions)
        what = set(zip(rows["scan"], rows["region"], strict=True))
        first, expected = evaluated.setdefault(run.dataset, (run, what))
        if what != expected:
            raise UserError(
                f"{first.folder} and {run.folder}: evaluated on different scans or regions of {run.dataset!r}; "
                "evaluate both on the same datalist, or name the data sets differently"
            )
        tables.append(rows.assign(**{column: getattr(run, column) for column in RUN_COLUMNS}))
    table = pd.concat(tables, ignore_index=True)
    table["n_conditioned"] = table["n_conditioned"].astype("Int64")
    return table[[*RUN_COLUMNS, *ROW_COLUMNS]]


def curve(run: EvaluatedRun) -> pd.DataFrame:
    """``curve.csv`` of a run: one row per epoch; no row where there is no such file.

    Raises:
        UserError: it cannot be read.
    """
    return _read_curve(run.folder / CURVE)


def _read_curve(path: Path) -> pd.DataFrame:
    rows = [epoch.model_dump() for epoch in read_curve(path)]
    return pd.DataFrame(rows, columns=None if rows else list(Epoch.model_fields), dtype=float)


def _read_run(folder: Path, top: Path) -> EvaluatedRun | None:
    """The run in ``folder``, or None, with a printed line, where it is not finished or not evaluated."""
    if not (folder / PER_SCAN).is_file() or read_rows(folder / PER_SCAN)[list(METRICS)].isna().all(axis=None):
        print(f"{folder}: skipped, not evaluated (no {PER_SCAN} with values)")
        return None
    if failed := read_summary((folder / PER_SCAN).parent, folder / "model.pt").failed:
        print(f"{folder}: skipped, of its evaluation {len(failed)} scans failed; mend them and evaluate it again")
        return None
    path = folder / RECORD
    try:
        record = read_run(path)
        settings: dict[str, Any] = record.settings
        epochs = int(settings["max_epochs"])
        minutes = None if settings.get("minutes") is None else float(settings["minutes"])
        done = _read_curve(folder / CURVE)
        every = settings.get("regions_per_scan") == "all"
        n_conditioned, usual_layers = _conditioned(record.network, every)
        if not record.data.name:
            raise KeyError("data.name")
        run = EvaluatedRun(
            folder=folder,
            record=record,
            run=folder.relative_to(top).as_posix() if folder != top else folder.absolute().name,
            dataset=record.data.name,
            method=str(settings["method"]),
            seed=int(settings["seed"]),
            fraction=float(settings.get("fraction", 1)),
            n_conditioned=n_conditioned,
            usual_layers=usual_layers,
            steps=epochs * int(settings["steps_per_epoch"]) if minutes is None else max(done["step"], default=0),
            batch_size=int(settings["batch_size"]),
            minutes=minutes,
        )
        if not (
            0 < run.fraction <= 1 and 0 <= run.seed < 2**32 and 0 < run.steps < 10**12 and 0 < run.batch_size < 10**9
        ):
            raise ValueError("numbers that no training has")
    except UserError:
        raise
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: cannot read the record of this run ({error}); train again") from error
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: lacks {error}; train again with this version, or move the folder away") from error
    epoch, spent = (max(done[column], default=math.inf) for column in ("epoch", "seconds"))
    if minutes is None and epoch < epochs:
        print(f"{folder}: skipped, not finished (epoch {int(epoch)} of {epochs})")
        return None
    if minutes is not None and spent < 60 * minutes - 1:
        print(f"{folder}: skipped, not finished ({spent / 60:.1f} of {minutes:g} minutes)")
        return None
    return run


def _tell_apart(runs: Sequence[EvaluatedRun]) -> list[EvaluatedRun]:
    """Where runs of a method learn every mask of a patch, those that learn one are another method."""
    every = {(run.dataset, run.method) for run in runs if _learns_every_mask(run)}
    apart = [(run.dataset, run.method) in every and not _learns_every_mask(run) for run in runs]
    return [
        replace(run, method=f"{run.method}, one mask") if other else run for run, other in zip(runs, apart, strict=True)
    ]


def _learns_every_mask(run: EvaluatedRun) -> bool:
    return run.method in ALWAYS_LEARN_ALL or run.record.settings.get("regions_per_scan") == "all"


def _conditioned(network: NetworkConfig, every_mask: bool) -> tuple[int | None, bool]:
    """Number of conditioned convolutions, and whether it is the usual one; (None, True) for networks without FiLM."""
    if not network.is_conditioned:
        return None, True
    every = convolutions(network)
    usual = decoder_convolutions(network.channels, network.convs_per_level) if every_mask else every
    number = every if network.n_conditioned is None else network.n_conditioned
    return number, number == usual


def convolutions(network: NetworkConfig) -> int:
    """Those of a UNet: encoder, decoder, the final one; 15 in the paper."""
    return network.convs_per_level * (2 * len(network.channels) - 1) + 1


def _reject_twins(runs: Sequence[EvaluatedRun]) -> None:
    seen: dict[tuple[Any, ...], EvaluatedRun] = {}
    for run in runs:
        key = (run.dataset, run.method, run.seed, run.fraction, run.n_conditioned, run.budget)
        twin = seen.setdefault(key, run)
        if twin is not run:
            raise UserError(
                f"{twin.folder} and {run.folder}: both are {run.method} on {run.dataset!r} with seed {run.seed}, "
                f"fraction {run.fraction:g} and {run.budget}; move one of them away"
            )


def _reject_budgets(runs: Sequence[EvaluatedRun]) -> None:
    first: dict[str, EvaluatedRun] = {}
    for run in runs:
        other = first.setdefault(run.dataset, run)
        if other.budget != run.budget:
            by_steps = other.minutes is None and run.minutes is None and other.steps != run.steps
            choose = "choose with --steps" if by_steps else "move those of one budget away"
            raise UserError(
                f"{other.folder} and {run.folder}: {other.budget}, and {run.budget}, on data set {run.dataset!r} must "
                f"not be compared; {choose}"
            )


def _reject_other_annotations(runs: Sequence[EvaluatedRun]) -> None:
    """Runs with one name of data set must have learned from the same; of a fraction each seed has its own scans."""
    first: dict[tuple[str, str], EvaluatedRun] = {}
    for run in runs:
        for split, counts in run.record.data.annotated.items():
            if split == "training" and run.fraction < 1:
                continue
            other = first.setdefault((run.dataset, split), run)
            if other.record.data.annotated[split] != counts:
                raise UserError(
                    f"{other.folder} and {run.folder}: other numbers of {split} scans or masks of {run.dataset!r} must "
                    "not be compared; move one of them away, or name the data sets differently"
                )
