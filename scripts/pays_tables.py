"""Tables of does_it_pay.py's runs, with intervals, and a figure; what is kept of them in the repository.

python scripts/pays_tables.py keep pays docs/results/pays       # records, curves and metrics of every run, no weights
python scripts/pays_tables.py tables docs/results/pays          # <budget>.md, differences.csv and differences.png
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import fire
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from conemos_bundle.training.curve import read_curve

KEPT = ("run.json", "curve.csv", "evaluation_test/per_scan.csv")
OTHER = "psl_loss"  # that all are compared with
DRAWN = 5000


def keep(runs: str, target: str) -> None:
    """Copy what is small of every finished run, and how fast each method was.

    Args:
        runs: folder of does_it_pay.py.
        target: folder of the same shape.
    """
    source = Path(runs)
    for file in [*source.glob("*/rates.json"), *source.glob("*/annotated.csv")]:
        _copy(file, Path(target) / file.relative_to(source))
    for done in source.glob("*/*/runs/*/*/evaluation_test/per_scan.csv"):
        run = done.parents[1]
        for name in KEPT:
            _copy(run / name, Path(target) / run.relative_to(source) / Path(name).name)


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


def tables(folder: str) -> None:
    """Write the tables and the figure.

    Args:
        folder: that `keep` made.
    """
    rows = [row for study in sorted(Path(folder).glob("*/*/runs")) for row in _rows(study)]
    table = pd.DataFrame(rows)
    for budget, part in table.groupby("budget"):
        shown = part.drop(columns=["budget", "low", "high"])
        (Path(folder) / f"{budget}.md").write_text(shown.to_markdown(index=False, floatfmt=".1f") + "\n")
    table.to_csv(Path(folder) / "differences.csv", index=False, float_format="%.4g")
    _draw(table[(table["method"] == "conemos")], Path(folder) / "differences.png")
    print(table.to_string(index=False))


def _rows(runs: Path) -> list[dict[str, Any]]:
    """One row per method: each seed's mean Dice, and the interval of the mean over seeds and of its difference."""
    budget, study = runs.parent.name, runs.parents[1].name
    found = {method.name: sorted(method.glob("seed*")) for method in sorted(runs.iterdir())}
    dice = {method: np.stack([_dice(seed / "per_scan.csv") for seed in seeds]) for method, seeds in found.items()}
    rows = []
    for method, seeds in found.items():
        last = read_curve(seeds[0] / "curve.csv")[-1]
        mean, low, high = _interval(dice[method].mean(0))
        row: dict[str, Any] = {"budget": budget, "study": study, "method": method, "steps": last.step}
        row |= {"masks": last.masks, "seconds": last.seconds, "seeds": len(seeds)}
        row["Dice of each seed"] = ", ".join(f"{100 * np.nanmean(each, 0).mean():.1f}" for each in dice[method])
        row["Dice"] = f"{mean:.1f} ({low:.1f} to {high:.1f})"
        if method != OTHER and OTHER in dice:
            both = dice[method].mean(0) - dice[OTHER].mean(0)
            difference, row["low"], row["high"] = _interval(both)
            row["from PSL loss"] = f"{difference:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"
        rows.append(row)
    return rows


def _dice(file: Path) -> np.ndarray:
    """(scans, regions), NaN where a region has no value; scans and regions in alphabetical order."""
    return pd.read_csv(file).pivot(index="scan", columns="region", values="dice").to_numpy()


def _interval(dice: np.ndarray) -> tuple[float, float, float]:
    """The mean over regions of means over scans, and its 95% interval: scans drawn anew."""
    random = np.random.default_rng(0)
    drawn = dice[random.integers(len(dice), size=(DRAWN, len(dice)))]
    means = np.nanmean(np.nanmean(drawn, 1), 1)
    low, high = np.quantile(means, [0.025, 0.975])
    return 100 * float(np.nanmean(dice, 0).mean()), 100 * float(low), 100 * float(high)


def _draw(table: pd.DataFrame, file: Path) -> None:
    """Points with intervals: CoNeMOS against PSL loss, a line per study and budget."""
    figure, axes = plt.subplots(figsize=(7, 0.5 + 0.35 * len(table)), layout="constrained")
    middle = (table["low"] + table["high"]) / 2
    names = table["study"] + ", equal " + table["budget"]
    axes.errorbar(middle, names, xerr=(table["high"] - table["low"]) / 2, fmt="o", capsize=3)
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set_xlabel("Dice of CoNeMOS minus that of PSL loss (points; 95% interval over test scans)")
    axes.invert_yaxis()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    fire.Fire({"keep": keep, "tables": tables})
