"""What a report's numbers come from: data, budget, seeds, machines, versions, and the runs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from conemos_bundle.paper.collect import RUN_COLUMNS, EvaluatedRun, curve
from conemos_bundle.paper.methods import in_order
from conemos_bundle.paper.parts import Table
from conemos_bundle.paper.tables import NO_VALUE
from conemos_bundle.runs.record import Run

_RECORDED = ("learning_rate", "sampling_rule", "cross_entropy", "rotation_degrees", "flip_probability", "bfloat16")


def list_runs(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """One row per run: what it is, its machine, masks and hours of training and best validation Dice."""
    order = in_order(run.method for run in runs)
    table = []
    for run in sorted(
        runs, key=lambda run: (order.index(run.method), -run.fraction, -(run.n_conditioned or 0), run.seed)
    ):
        epochs = curve(run)
        row = {column: getattr(run, column) for column in RUN_COLUMNS if column != "usual_layers"}
        row["learning_rate"] = run.record.settings.get("learning_rate")
        row["parameters"] = run.record.parameters
        row["masks"] = epochs["masks"].max()
        row["training_hours"] = epochs["seconds"].max() / 3600
        row["best_validation_dice"] = epochs["validation_dice"].max()
        table.append({**row, "machine": run.record.machine or None})
    return pd.DataFrame(table).astype({"n_conditioned": "Int64", "parameters": "Int64", "masks": "Int64"})


def runs_table(runs: Sequence[EvaluatedRun]) -> Table:
    """The runs, to be shown: those of the comparison and the others."""
    lines = []
    for row in list_runs(runs).to_dict("records"):
        layers = "" if pd.isna(row["n_conditioned"]) else str(row["n_conditioned"])
        best = row["best_validation_dice"]
        validation = NO_VALUE if pd.isna(best) else f"{100 * best:.1f}"
        masks = NO_VALUE if pd.isna(row["masks"]) else f"{row['masks']:,}"
        minutes = NO_VALUE if pd.isna(row["training_hours"]) else f"{60 * row['training_hours']:.1f}"
        what = [row["run"], row["method"], str(row["seed"]), f"{row['fraction']:.0%}", layers]
        lines.append([*what, masks, minutes, validation])
    header = ["Run", "Method", "seed", "training scans", "conditioned convolutions"]
    header += ["masks seen", "minutes of training", "best validation Dice (%)"]
    return Table(header, lines, texts=2)


def seeds(runs: Sequence[EvaluatedRun]) -> str:
    """The seeds of some runs, in words."""
    found = sorted({run.seed for run in runs})
    return f"seed {found[0]}" if len(found) == 1 else f"seeds {', '.join(map(str, found))}"


def provenance(runs: Sequence[EvaluatedRun], rows: pd.DataFrame, regions: Sequence[str]) -> dict[str, str]:
    """The head of a report, by its words: data set, test scans, budget, seeds, what differs, machines, versions.

    Args:
        runs: all runs of the data set.
        rows: their rows (`per_scan_rows`).
        regions: the regions in the order wanted.
    """
    data = runs[0].record.data
    standard = [run for run in runs if run.is_standard]
    with_value = rows.dropna(subset=["dice"]).groupby("region")["scan"].nunique()
    annotated = ", ".join(f"{region} {with_value.get(region, 0)}" for region in regions)
    of_method = {method: seeds([run for run in standard if run.method == method]) for method in _methods(standard)}
    by_seeds = {text: [m for m, other in of_method.items() if other == text] for text in of_method.values()}
    versions: dict[str, set[str]] = {}
    for run in runs:
        for package, version in run.record.versions.items():
            versions.setdefault(package, set()).add(version)
    first = runs[0]
    samples = "" if first.minutes is not None else f" = {first.steps * first.batch_size:,} samples per run"
    machines = sorted({run.record.machine for run in runs if run.record.machine})
    unlike = _unlike(runs)
    return {
        "Data set": f"{data.name}. {data.description}".strip(),
        "Test scans": f"{rows['scan'].nunique()}, with a reference of: {annotated}",
        "Budget": runs[0].budget + samples,
        "Runs compared": "; ".join(f"{text} of {', '.join(methods)}" for text, methods in by_seeds.items()),
        **({"Settings that differ": unlike} if unlike else {}),
        "Machine": "; ".join(machines) or "not recorded",
        "Versions": ", ".join(f"{package} {' and '.join(sorted(found))}" for package, found in versions.items()),
    }


def _unlike(runs: Sequence[EvaluatedRun]) -> str:
    """In which settings of training the runs differ, and whose are which."""
    told = []
    for what in _settings(runs[0].record):
        found = [(_settings(run.record)[what], run) for run in runs]
        values = list(dict.fromkeys(value for value, _ in found if value))
        if len(values) > 1:
            each = (f"{value} ({', '.join(_methods([run for of, run in found if of == value]))})" for value in values)
            told.append(f"{what}: {', '.join(each)}")
    return "; ".join(told)


def _settings(record: Run) -> dict[str, str]:
    """In words; empty where the record does not tell."""
    plan = record.plan
    told: dict[str, Any] = {"spacing (mm)": plan.spacing, "patch (voxels)": plan.patch_size}
    told |= {"scales": "one per region" if plan.scales else "one", "features": record.network.channels}
    told |= {name.replace("_", " "): record.settings.get(name) for name in _RECORDED}
    return {
        what: "" if value is None else " x ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for what, value in told.items()
    }


def _methods(runs: Sequence[EvaluatedRun]) -> list[str]:
    return in_order(run.method for run in runs)
