"""Tables of does_it_pay.py's runs, with intervals, and a figure; what is kept of them in the repository.

python scripts/pays_tables.py keep pays docs/results/pays       # records, curves and metrics of every run, no weights
python scripts/pays_tables.py tables docs/results/pays          # <budget>.md, differences.csv and differences.png
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import fire
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from conemos_bundle.training.curve import read_curve
from equal_time import copy_file
from pays_studies import STUDIES, folder_of
from scipy.stats import t as student

KEPT = ("run.json", "asked.json", "curve.csv", "evaluation_test/per_scan.csv")
OTHER = "psl_loss"  # what all are compared with
HIDDEN = ("differences", "runs")
FAILS = ("psl_loss_relu",)
EVERY_MASK = (OTHER, "conemos", "dodnet")  # equal steps are equal masks to these
OF_STEPS = {"steps": (), "time": (OTHER,), "masks": EVERY_MASK}  # whose runs of equal steps a budget takes
DRAWN = 2000
MARGIN = 1.0  # points of Dice within which methods are called level; said before any run was tested


def keep(runs: str, target: str) -> None:
    """Copy what is small of every finished run.

    Args:
        runs: folder of does_it_pay.py.
        target: folder of the same shape.
    """
    source = Path(runs)
    for file in [*source.glob("*/annotated.csv"), *source.glob("*/fold*/annotated.csv")]:
        copy_file(file, Path(target) / file.relative_to(source))
    for done in source.glob("*/*/*/seed*/evaluation_test/per_scan.csv"):
        run = done.parents[1]
        for name in KEPT:
            copy_file(run / name, Path(target) / run.relative_to(source) / Path(name).name)


def tables(folder: str) -> None:
    """Write the tables and the figure.

    Args:
        folder: that `keep` made.
    """
    studies = sorted(steps.parent for steps in Path(folder).glob("*/steps"))
    rows = [row for study in studies for budget in OF_STEPS for row in rows_of(study, budget)]
    for alike in {_compared_together(row) for row in rows}:
        compare([row for row in rows if _compared_together(row) == alike])
    table = pd.DataFrame([{name: value for name, value in row.items() if name not in HIDDEN} for row in rows])
    for budget, part in table.groupby("budget"):
        shown = part.drop(columns=["budget", "difference", "low", "high"], errors="ignore").fillna("")
        (Path(folder) / f"{budget}.md").write_text(shown.to_markdown(index=False) + "\n")
    table.to_csv(Path(folder) / "differences.csv", index=False, float_format="%.4g")
    if "low" in table:
        _draw(table[(table["method"] == "conemos") & table["low"].notna()], Path(folder) / "differences.png")
    print(table.to_string(index=False))


def _compared_together(row: dict[str, Any]) -> tuple[str, bool, bool]:
    """Trainings of one data set differ as much in each study; those of other folds, with their scans, more.

    So do those of a method that fails now and then, by which the others shall not be judged.
    """
    return folder_of(row["study"]), "folds" in STUDIES[row["study"]], row["method"] in FAILS


def rows_of(study: Path, budget: str) -> list[dict[str, Any]]:
    """One row per method: its Dice with each seed, and its ``differences`` from PSL loss with the same seeds.

    Raises:
        ValueError: two runs were evaluated on other scans or regions.
    """
    found = {method: study / "steps" / method for method in OF_STEPS[budget]}
    found |= {folder.name: folder for folder in sorted((study / budget).glob("*")) if folder.is_dir()}
    other_first = sorted(found.items(), key=lambda one: (one[0] != OTHER, one[0]))
    runs = {method: {seed.name: seed for seed in sorted(folder.glob("seed*"))} for method, folder in other_first}
    if set(runs) <= set(OF_STEPS[budget]) and budget == "time":
        return []  # the other's own time alone
    rows = []
    for method, seeds in runs.items():
        if not seeds:
            continue
        both = [seed for seed in seeds if seed in runs.get(OTHER, {})]
        curves = [read_curve(run / "curve.csv")[-1] for run in seeds.values()]
        row: dict[str, Any] = {"budget": budget, "study": study.name, "method": method, "seeds": len(seeds)}
        row["runs"] = str(found[method])
        for what in ("step", "masks", "seconds"):
            row[what] = round(float(np.mean([getattr(curve, what) for curve in curves])))
        dice = [dice_of(run) for run in seeds.values()]
        row["Dice of each seed"] = ", ".join(f"{100 * one.mean().mean():.1f}" for one in dice)
        row["Dice"] = f"{100 * np.mean([one.mean().mean() for one in dice]):.1f}"
        if method != OTHER and both:
            row["differences"] = [_difference(seeds[seed], runs[OTHER][seed]) for seed in both]
        rows.append(row)
    return rows


def compare(rows: list[dict[str, Any]]) -> None:
    """Add to the rows of one data set their mean differences in points, 95% intervals, and what can be said.

    A row has two seeds or three, from which no variance between trainings can be told. That is taken to be the same for
    all comparisons on a data set, and estimated from all of them. To it comes that of the test scans, by bootstrap;
    between folds, it is there already.

    Args:
        rows: some have ``differences``, of Dice, one table of scans by regions per seed, and ``runs``, their folder.
            They get ``difference``, ``low``, ``high``, ``from PSL loss``, and ``verdict``: ``ahead`` or ``behind``
            where the interval is without 0, ``level`` where it lies within `MARGIN` points of it, else ``undecided``.
    """
    compared = [row for row in rows if row.get("differences")]
    seeds = [np.array([_mean(one) for one in row["differences"]]) for row in compared]
    once = {row["runs"]: one for row, one in zip(compared, seeds, strict=True)}.values()  # in two budgets the same
    freedom = sum(len(one) - 1 for one in once)
    between = sum(((one - one.mean()) ** 2).sum() for one in once) / freedom if freedom else float("nan")
    for row, each in zip(compared, seeds, strict=True):
        mean = 100 * float(each.mean())
        error = 100 * float(np.sqrt(between / len(each) + _of_scans(row["differences"])))
        reach = float(student.ppf(0.975, freedom)) * error if freedom else float("nan")
        low, high = mean - reach, mean + reach
        row |= {"difference": mean, "low": low, "high": high, "verdict": "one seed"}
        row["from PSL loss"] = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})" if freedom else f"{mean:+.1f}"
        if len(each) > 1:
            sure = ("ahead" if mean > 0 else "behind") if not low <= 0 <= high else ""
            row["verdict"] = sure or ("level" if max(-low, high) <= MARGIN else "undecided")


def _mean(difference: pd.DataFrame) -> float:
    return float(difference.mean().mean())


def _of_scans(differences: list[pd.DataFrame]) -> float:
    """The variance of the mean difference that comes from which scans were tested, by drawing them anew."""
    if any(not one.index.equals(differences[0].index) for one in differences):
        return 0.0  # folds: it is in what lies between them
    each = np.stack([one.to_numpy() for one in differences])  # (seeds, scans, regions)
    drawn = each[:, np.random.default_rng(0).integers(each.shape[1], size=(DRAWN, each.shape[1]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw without any scan of a region
        return float(np.var(np.nanmean(np.nanmean(drawn, 2), (0, 2))))


def _difference(run: Path, other: Path) -> pd.DataFrame:
    mine, theirs = dice_of(run), dice_of(other)
    if not (mine.index.equals(theirs.index) and mine.columns.equals(theirs.columns)):
        raise ValueError(f"{run} and {other}: evaluated on other scans or regions")
    return mine - theirs


def dice_of(run: Path) -> pd.DataFrame:
    """Scans by regions, NaN where a region has no value."""
    return pd.read_csv(run / "per_scan.csv").pivot(index="scan", columns="region", values="dice")


def _draw(table: pd.DataFrame, file: Path) -> None:
    """Points with intervals: CoNeMOS against PSL loss, a line per study and budget."""
    figure, axes = plt.subplots(figsize=(7, 0.8 + 0.35 * len(table)), layout="constrained")
    names = table["study"] + ", equal " + table["budget"]
    reach = [table["difference"] - table["low"], table["high"] - table["difference"]]
    axes.errorbar(table["difference"], names, xerr=reach, fmt="o", capsize=3)
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set_xlabel("Dice of CoNeMOS minus that of PSL loss (points; 95% interval)")
    axes.invert_yaxis()
    figure.savefig(file, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    fire.Fire({"keep": keep, "tables": tables})
