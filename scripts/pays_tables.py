"""Tables of does_it_pay.py's runs, with intervals, and a figure; what is kept of them in the repository.

python scripts/pays_tables.py keep pays docs/results/pays       # records, curves and metrics of every run, no weights
python scripts/pays_tables.py tables docs/results/pays          # tables.md, differences.csv and differences.png
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from conemos_bundle.training.curve import read_curve
from equal_time import copy_file, is_evaluated
from pays_studies import STUDIES, folder_of
from scipy.stats import t as student

KEPT = ("run.json", "asked.json", "curve.csv", "evaluation_test/per_scan.csv")
OTHER = "psl_loss"  # what all are compared with
HIDDEN = ("differences", "runs", "folds")
NEAR = 1.06  # times: an equal time; as near as does_it_pay.py lets it be, and the last step
FAILS = ("psl_loss_relu",)
EVERY_MASK = (OTHER, "conemos", "dodnet")  # equal steps are equal masks to these
OF_STEPS = {"steps": (), "time": (OTHER,), "masks": EVERY_MASK}  # whose runs of equal steps a budget takes
DRAWN = 2000
MARGIN = 1.0  # points of Dice within which methods are called level; said before any run was tested
BUDGETS = {"time": "Equal time", "steps": "Equal steps", "masks": "Equal masks"}
TITLES = {
    "hippocampus": "hippocampus",
    "quarter": "hippocampus, a quarter of the scans",
    "tenth": "hippocampus, a tenth of the scans",
    "rare": "hippocampus, a rare region",
    "raters": "hippocampus, two raters",
    "chaos": "CHAOS",
    "chaos_folds": "CHAOS, four folds",
    "sparse": "CHAOS, fewer masks",
    "sparse_folds": "CHAOS, fewer masks, four folds",
    "many": "fetal brain atlas, twelve regions",
}
METHODS = {
    OTHER: "PSL loss",
    "conemos": "CoNeMOS",
    "conemos_paper": "CoNeMOS, the paper's: all convolutions conditioned, one mask per step",
    "dodnet": "DoDNet",
    "psl_loss_relu": "PSL loss, with a ReLU before its last layer",
}
COLUMNS = {
    "method": "method", "step": "steps", "masks": "masks", "seconds": "seconds", "Dice of each seed": "each seed",
    "Dice": "Dice", "from PSL loss": "from PSL loss", "verdict": "verdict",
}  # fmt: skip
ABOUT = (
    "Test Dice (%), mean over regions; half of the paper's features, one core. Differences from PSL loss with the same "
    "seeds, their 95% intervals (trainings and test scans; not widened for how many there are), and what can be said: "
    f"*ahead* or *behind* where the interval is without 0, *level* where it lies within {MARGIN:g} point of it. "
    "*A rare region*: the posterior part is annotated in 12 of 140 scans. *Two raters*: each annotated half of the "
    "scans and ends the anterior part elsewhere. *Fewer masks*: 1.6 per scan, else 2.4. *Four folds*: each of 20 scans "
    "is tested once, else the same five. *Twelve regions*: three of them annotated in each of nine scans."
)
ALIKE = 0.5  # the correlation of two methods' differences from the same runs, where all trainings vary as much


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
        for name in KEPT if is_evaluated(done.parent) else ():
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
    (Path(folder) / "tables.md").write_text(page_of(table), encoding="utf-8")
    table.to_csv(Path(folder) / "differences.csv", index=False, float_format="%.4g")
    if "low" in table:
        shown = (table["method"] == "conemos") & table["low"].notna() & (table["budget"] != "masks")  # as many steps
        _draw(table[shown], Path(folder) / "differences.png")
    print(table.to_string(index=False))


def page_of(table: pd.DataFrame) -> str:
    """A page in Markdown: a table for each budget, a line per study and method; `tables` has made the numbers."""
    lines = ["# Does conditioning pay? Every comparison", "", ABOUT]
    for budget, title in BUDGETS.items():
        head = f"| data | {' | '.join(COLUMNS.values())} |"
        lines += ["", f"## {title}", "", head, "| --- | --- |" + " ---: |" * (len(COLUMNS) - 2) + " --- |"]
        for study, name in TITLES.items():
            part = table[(table["budget"] == budget) & (table["study"] == study)]
            for place, (_, row) in enumerate(part.reindex(columns=[*COLUMNS]).fillna("").iterrows()):
                cells = [METHODS.get(cell, f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row]
                lines.append(f"| {name if place == 0 else ''} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _compared_together(row: dict[str, Any]) -> tuple[str, str, bool]:
    """Trainings of one data set differ as much in each study.

    More do those whose seed chooses scans too, and those of a method that fails now and then. Studies of folds have
    the same scans, so that each is judged by itself.
    """
    about = STUDIES[row["study"]]
    apart = row["study"] if "folds" in about else "fraction" in about["settings"]
    return folder_of(row["study"]), str(apart), row["method"] in FAILS


def rows_of(study: Path, budget: str) -> list[dict[str, Any]]:
    """One row per method: its Dice with each seed, and its ``differences`` from PSL loss with the same seeds.

    Raises:
        ValueError: two runs were evaluated on other scans or regions, the seeds of a method have other networks, or an
            equal time is none.
    """
    found = {method: study / "steps" / method for method in OF_STEPS[budget]}
    found |= {folder.name: folder for folder in sorted((study / budget).glob("*")) if folder.is_dir()}
    other_first = sorted(found.items(), key=lambda one: (one[0] != OTHER, one[0]))
    runs = {method: {seed.name: seed for seed in sorted(folder.glob("seed*"))} for method, folder in other_first}
    rows = []
    for method, seeds in runs.items():
        if not seeds:
            continue
        both = [seed for seed in seeds if seed in runs.get(OTHER, {})]
        curves = [read_curve(run / "curve.csv")[-1] for run in seeds.values()]
        _of_one_network(list(seeds.values()))
        if budget == "time":
            _as_long([(seeds[seed], runs[OTHER][seed]) for seed in both])
        row: dict[str, Any] = {"budget": budget, "study": study.name, "method": method, "seeds": len(seeds)}
        row["runs"] = str(found[method])
        for what in ("step", "masks", "seconds"):
            row[what] = round(float(np.mean([getattr(curve, what) for curve in curves])))
        dice = [dice_of(run) for run in seeds.values()]
        row["Dice of each seed"] = ", ".join(f"{100 * one.mean().mean():.1f}" for one in dice)
        row["Dice"] = f"{100 * np.mean([one.mean().mean() for one in dice]):.1f}"
        if method != OTHER and both:
            row["differences"] = [_difference(seeds[seed], runs[OTHER][seed]) for seed in both]
        row["folds"] = "folds" in STUDIES.get(study.name, {})
        rows.append(row)
    return rows if any("differences" in row for row in rows) else []  # else there is nothing to compare


def _of_one_network(runs: Sequence[Path]) -> None:
    records = [json.loads((run / "run.json").read_text())["network"] for run in runs]
    if any(record != records[0] for record in records):
        raise ValueError(f"{runs[0].parent}: its seeds have other networks")


def _as_long(pairs: Sequence[tuple[Path, Path]]) -> None:
    for pair in pairs:
        one, other = (read_curve(run / "curve.csv")[-1].seconds for run in pair)
        if not 1 / NEAR <= one / other <= NEAR:
            raise ValueError(f"{pair[0]}: {one:.0f} and {other:.0f} s are no equal time")


def compare(rows: list[dict[str, Any]]) -> None:
    """Add to rows that belong together their mean differences in points, 95% intervals, and what can be said.

    A row has two to four seeds, too few to tell the variance between trainings. That is taken to be the same for all
    rows, and estimated from all of them. To it comes that of the test scans, by bootstrap; between folds, it is there
    already. Comparisons with the same runs of PSL loss are alike (correlation 1/2), so that t has fewer degrees of
    freedom than they have seeds (Satterthwaite). Intervals are not widened for how many there are.

    Args:
        rows: some have ``differences``, of Dice, one table of scans by regions per seed; ``runs``, their folder;
            ``study``; and ``folds``, whether each seed has other test scans.
            They get ``difference``, ``low``, ``high``, ``from PSL loss``, and ``verdict``: ``ahead`` or ``behind``
            where the interval is without 0, ``level`` where it lies within `MARGIN` points of it, else ``undecided``.
    """
    compared = [row for row in rows if row.get("differences")]
    seeds = [np.array([_mean(one) for one in row["differences"]]) for row in compared]
    once = {row["runs"]: (row["study"], one) for row, one in zip(compared, seeds, strict=True)}  # of two budgets: one
    count = sum(len(one) - 1 for _, one in once.values())
    between = sum(((one - one.mean()) ** 2).sum() for _, one in once.values()) / count if count else float("nan")
    freedom = _degrees_of_freedom([(study, len(one) - 1) for study, one in once.values()])
    for row, each in zip(compared, seeds, strict=True):
        mean = 100 * float(each.mean())
        scans = 0.0 if row["folds"] else _of_scans(row["differences"])
        error = 100 * float(np.sqrt(between / len(each) + scans))
        reach = float(student.ppf(0.975, freedom)) * error if freedom else float("nan")
        low, high = mean - reach, mean + reach
        row |= {"difference": mean, "low": low, "high": high, "verdict": "one seed"}
        row["from PSL loss"] = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})" if freedom else f"{mean:+.1f}"
        if len(each) > 1:
            sure = ("ahead" if mean > 0 else "behind") if not low <= 0 <= high else ""
            row["verdict"] = sure or ("level" if max(-low, high) <= MARGIN else "undecided")


def _degrees_of_freedom(comparisons: Sequence[tuple[str, int]]) -> float:
    """Those of the pooled variance of comparisons, (study, seeds less one) each, alike within a study."""
    of_study: Counter[str] = Counter()
    for study, freedom in comparisons:
        of_study[study] += freedom
    spread = sum(freedom + ALIKE**2 * (of_study[study] - freedom) for study, freedom in comparisons)
    return sum(of_study.values()) ** 2 / spread if spread else 0.0


def _mean(difference: pd.DataFrame) -> float:
    return float(difference.mean().mean())


def _of_scans(differences: list[pd.DataFrame]) -> float:
    """The variance of the mean difference that comes from which scans were tested, by drawing them anew."""
    each = np.stack([one.to_numpy() for one in differences])  # (seeds, scans, regions)
    scans = each.shape[1]
    drawn = each[:, np.random.default_rng(0).integers(scans, size=(DRAWN, scans))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw without any scan of a region
        return float(np.var(np.nanmean(np.nanmean(drawn, 2), (0, 2)))) * scans / max(1, scans - 1)


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
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.35 * len(table)), layout="constrained")
    names = table["study"].map(TITLES) + ": equal " + table["budget"]
    reach = [table["difference"] - table["low"], table["high"] - table["difference"]]
    axes.errorbar(table["difference"], names, xerr=reach, fmt="o", capsize=3)
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set_xlabel("CoNeMOS minus PSL loss, points of Dice")
    axes.invert_yaxis()
    figure.savefig(file, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    fire.Fire({"keep": keep, "tables": tables})
