"""Figures of does_it_pay.py's runs at equal time: few scans, and the regions of each other study.

python scripts/pays_figures.py docs/results/pays      # few_scans.png and <study>.png, of what pays_tables.py has kept
"""

from __future__ import annotations

from pathlib import Path

import fire
import matplotlib.pyplot as plt
import pandas as pd
from pays_studies import STUDIES
from pays_tables import OTHER, dice_of

FEW = {"tenth": 0.1, "quarter": 0.25, "hippocampus": 1.0}  # of the training scans
BY_REGION = {
    "rare": "Hippocampus: the posterior part is annotated in 12 of 140 scans",
    "raters": "Hippocampus: two raters end the anterior part elsewhere, in half of the scans each",
    "many": "Fetal brain atlas: three of twelve regions annotated in each of nine scans",
    "sparse_folds": "CHAOS: 1.6 masks per scan; each of 20 scans tested once",
    "chaos_folds": "CHAOS: 2.4 masks per scan; each of 20 scans tested once",
}
NAMES = {OTHER: "PSL loss", "conemos": "CoNeMOS"}
COLORS = {OTHER: "tab:orange", "conemos": "tab:blue"}
TIME = {OTHER: "steps", "conemos": "time"}  # where the runs of equal time lie


def main(folder: str) -> None:
    """Draw what there are runs of.

    Args:
        folder: that `pays_tables.py keep` made.
    """
    root = Path(folder)
    if all(_runs(root / study) for study in FEW):
        draw_few(root, root / "few_scans.png")
    for study, title in BY_REGION.items():
        if _runs(root / study) and _is_whole(root / study):
            draw_regions(root / study, title, root / f"{study}.png")


def _runs(study: Path) -> dict[str, list[pd.DataFrame]]:
    """The Dice of each seed, of both methods; nothing where one has no run."""
    found = {
        method: [dice_of(run) for run in sorted((study / budget / method).glob("seed*"))]
        for method, budget in TIME.items()
    }
    return found if all(found.values()) else {}


def _is_whole(study: Path) -> bool:
    """Whether all folds were tested, where there are folds."""
    folds = STUDIES[study.name].get("folds", 0)
    return all(len(seeds) >= folds for seeds in _runs(study).values())


def _trained(study: Path) -> pd.DataFrame:
    table = pd.read_csv(sorted(study.glob("**/annotated.csv"))[0])  # of each fold, as many masks
    return table[table["split"] == "train"].drop(columns=["scan", "split"])


def draw_few(root: Path, file: Path) -> None:
    """Dice by the number of training scans: a point per seed, a line through the means."""
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for method, name in NAMES.items():
        scans = [round(part * len(_trained(root / study))) for study, part in FEW.items()]
        each = [[100 * one.mean().mean() for one in _runs(root / study)[method]] for study in FEW]
        axes.plot(scans, [sum(seeds) / len(seeds) for seeds in each], color=COLORS[method], label=name)
        for number, seeds in zip(scans, each, strict=True):
            axes.plot([number] * len(seeds), seeds, "o", color=COLORS[method], markersize=4)
    axes.set_xscale("log")
    axes.set_xticks(scans, [str(number) for number in scans])
    axes.minorticks_off()
    axes.set_xlabel("training scans")
    axes.set_ylabel("Dice on the test scans, mean over regions")
    axes.set_title("Hippocampus, equal time", fontsize=10)
    axes.legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def draw_regions(study: Path, title: str, file: Path) -> None:
    """A line per region, most masks first: the mean Dice of both methods, small points for each seed."""
    runs, masks = _runs(study), _trained(study).sum().sort_values(ascending=False, kind="stable")
    figure, axes = plt.subplots(figsize=(7, 1.2 + 0.32 * len(masks)), layout="constrained")
    for shift, (method, name) in zip((-0.12, 0.12), NAMES.items(), strict=True):
        means = pd.DataFrame([100 * one.mean() for one in runs[method]])[list(masks.index)]
        places = [place + shift for place in range(len(masks))]
        axes.plot(means.mean(), places, "o", color=COLORS[method], label=name)
        for _, seed in means.iterrows():
            axes.plot(seed, places, ".", color=COLORS[method], markersize=4, alpha=0.6)
    axes.set_yticks(range(len(masks)), [f"{region} (masks: {number})" for region, number in masks.items()])
    axes.invert_yaxis()
    axes.set_xlabel("Dice on the test scans, equal time")
    figure.suptitle(title, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    fire.Fire(main)
