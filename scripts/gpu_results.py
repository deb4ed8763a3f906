"""What comes of the comparison on one GPU (gpu_study.py): one table of all runs, and archives to take along."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from conemos_bundle.training.curve import read_curve

MOST_PACKED, MOST_FILES = 15.5, 4  # MiB of a file, files of weights: what comes back from a lent machine


def summarize(output: str) -> pd.DataFrame:
    """``comparison.csv``: steps, seconds, masks and validation Dice of each run, Dice and SD95 of each region."""
    rows = []
    folder = Path(output).absolute()
    for run in sorted(folder.glob("runs/*/seed*")):
        curve = read_curve(run / "curve.csv")
        if not curve:
            continue
        row: dict[str, Any] = {"method": run.parent.name, "seed": int(run.name[4:])}
        row |= {"steps": curve[-1].step, "seconds": curve[-1].seconds, "masks": curve[-1].masks}
        row["validation"] = max((epoch.validation_dice or 0 for epoch in curve), default=0)
        tables = [pd.read_csv(file) for file in sorted(run.glob("evaluation_test_*/per_scan.csv"))]
        if tables:
            metrics = pd.concat(tables)
            means = metrics.groupby("region")[["dice", "sd95_mm"]].mean()
            row |= {"scans": metrics["scan"].nunique(), **means.mean().to_dict()}
            row |= {f"{metric}_{region}": mean for metric in means for region, mean in means[metric].items()}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "comparison.csv", index=False, float_format="%.5g")
    return table


def pack(output: str, packed: str | None = None, weights: Sequence[str] = ()) -> None:
    """Write ``results.tar.gz`` (records, curves, metrics, logs) and ``weights_<i>.tar`` of some methods into a folder.

    Args:
        output: the study.
        packed: the folder; default: ``packed/`` of the study.
        weights: methods whose weights are kept, the most wanted first, as far as the files hold them.
    """
    folder = Path(output).absolute()
    target = Path(packed or folder / "packed")
    target.mkdir(parents=True, exist_ok=True)
    files = [*folder.glob("*.json"), *folder.glob("*.csv"), *folder.glob("trial*/usage.csv"), *folder.glob("**/*.log")]
    for name in ("run.json", "curve.csv", "evaluation_test_*/per_scan.csv", "evaluation_test_*/summary.json"):
        files += folder.glob(f"runs/*/*/{name}")
    _archive(target / "results.tar.gz", sorted(files), folder)
    parts: list[list[Path]] = [[]]
    for name in several(weights):
        for file in sorted(folder.glob(f"runs/{name}/*/model.pt")):
            if sum(each.stat().st_size for each in [*parts[-1], file]) > MOST_PACKED * 2**20:
                parts.append([])
            parts[-1].append(file)
    for i, part in enumerate(part for part in parts[:MOST_FILES] if part):
        _archive(target / f"weights_{i}.tar", part, folder)


def _archive(file: Path, members: Sequence[Path], folder: Path) -> None:
    with tarfile.open(file, "w:gz" if file.suffix == ".gz" else "w") as archive:
        for member in members:
            archive.add(member, member.relative_to(folder))


def several(given: Any) -> list[Any]:
    """A list, also of one name: fire takes that for a text."""
    return [given] if isinstance(given, str | int) else list(given)
