"""Tables of growing.py's runs and a figure; what is kept of them in the repository.

python scripts/growing_tables.py keep growing docs/results/growing   # what is small of every run
python scripts/growing_tables.py tables docs/results/growing # tables.md and growing.png
"""

from __future__ import annotations

from pathlib import Path

import fire
import matplotlib.pyplot as plt
import pandas as pd
from conemos_bundle.networks import AddedRegion, FiLMUNet, UNet
from equal_time import copy_file
from growing import SMALL, STUDIES
from torch import nn

KEPT = {
    "per_scan_test.csv": "evaluation_test/per_scan.csv", "curve.csv": "curve.csv", "seconds": "seconds",
    "old_regions.csv": "old_regions.csv",
}  # fmt: skip
TITLES = {
    "chaos": "CHAOS: liver, kidneys, and now the spleen",
    "chaos_left": "CHAOS: liver, right kidney, spleen, and now the left kidney",
    "hippocampus": "Hippocampus: the whole, its posterior part, and now the anterior one",
    "atlas": "Fetal brain atlas: seven tissues, and now the cerebellum",
}
# in the order of what is learned; the last: what becomes of the old regions
VARIANTS = {
    "film": ("γ and β alone (`film`)", "kept"),
    "low_rank": ("**the default**: γ, β and a change of rank 4 of each convolution (`low_rank`)", "kept"),
    "decoder": ("γ, β and the decoder (`decoder`)", "kept"),
    "rehearsed": (
        "all weights, old regions rehearsed (`all`)",
        "[lose some](#old-regions-where-all-weights-are-trained-and-they-are-rehearsed-all)",
    ),
    "fine_tuned": ("all weights, not rehearsed", "lost"),
    "scratch": ("a network of its own, from scratch", "kept"),
    "scratch_relu": ("… with a ReLU before its last layer, as runs of before had it", "kept"),
    "joint": ("jointly with the old regions, whose scans are at hand", "trained too"),
    "unet_last_layer": ("a plain UNet (PSL loss, with a ReLU before its last layer), a new last layer", "kept"),
    "unet_fine_tuned": ("… all its weights", "lost"),
}
DRAWN = {
    "low_rank": "taught (the default)",
    "scratch": "from scratch",
    "scratch_relu": "from scratch, ReLU before the last layer",
    "fine_tuned": "all weights, old ones lost",
}


def keep(runs: str, target: str) -> None:
    """Copy what is small of every finished run.

    Args:
        runs: folder of growing.py.
        target: folder of the same shape.
    """
    for study in (folder for folder in Path(runs).iterdir() if folder.is_dir()):
        for file in [*study.glob("growing_*.csv"), *study.glob("base*/curve.csv")]:
            name = file.name if file.parent == study else f"{file.parent.name}_{file.name}"
            copy_file(file, Path(target) / study.name / name)
        for done in study.glob("runs/*/evaluation_test/per_scan.csv"):
            run = done.parents[1]
            for name, source in KEPT.items():
                found = [file for file in (run / source, run / "training" / source) if file.is_file()]
                if found:
                    copy_file(found[0], Path(target) / study.name / "runs" / run.name / name)
            if (run / "training" / "run.json").is_file():
                copy_file(run / "training" / "run.json", Path(target) / study.name / "runs" / run.name / "run.json")


def learned(variant: str, regions: int) -> int:
    """How many weights a variant learns, with the features of the study, which has so many regions in all."""
    channels = SMALL["channels"]
    shape = {"channels": channels, "norm": "instance"}
    if variant in ("film", "low_rank", "decoder"):
        network: nn.Module = AddedRegion(**shape, film_position="before_activation", capacity=variant)
    elif variant.startswith(("unet", "scratch")):
        network = UNet(num_regions=1, **shape)
    else:
        every = regions if variant in ("rehearsed", "joint") else 1
        network = FiLMUNet(num_regions=every, n_conditioned=7, film_position="before_activation", **shape)
    if variant == "unet_last_layer":
        network = network.backbone.final  # type: ignore[assignment]
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def tables(folder: str) -> None:
    """Write ``tables.md``, a table for each study, and ``growing.png``.

    Args:
        folder: that `keep` made.
    """
    lines = ["# A new region from a handful of scans", ""]
    lines += ["Dice (%) of the new region on the test scans: the mean over draws of the few scans, and each of them."]
    studies = {s: pd.read_csv(Path(folder) / s / "growing_test.csv") for s in TITLES if (Path(folder) / s).is_dir()}
    for study, table in studies.items():
        numbers = STUDIES[study]["numbers"]
        heads = [f"{number} scans" for number in numbers]
        lines += [
            "",
            f"## {TITLES[study]}",
            "",
            f"| what is learned | weights | old regions | {' | '.join(heads)} | minutes |",
        ]
        lines += ["| --- | ---: | --- |" + " ---: |" * (len(numbers) + 1)]
        for variant, (name, old) in VARIANTS.items():
            runs = table[table["variant"] == variant].sort_values("draw")
            cells = [_cell(runs.loc[runs["scans"] == number, "dice"]) for number in numbers]
            minutes = "" if runs.empty else f"{runs['seconds'].min() / 60:.1f}"
            weights = learned(variant, len(STUDIES[study]["regions"]))
            lines.append(f"| {name} | {weights:,} | {old} | {' | '.join(cells)} | {minutes} |")
    lines += [
        "",
        "Minutes: of the fastest run, on one core. All but from scratch and jointly begin with a base of 1,500 steps.",
    ]
    lines += left_out(Path(folder), studies) + old_regions(studies)
    (Path(folder) / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _draw(studies, Path(folder) / "growing.png")
    print("\n".join(lines))


def left_out(folder: Path, studies: dict[str, pd.DataFrame]) -> list[str]:
    """A table of further regions of a study, each left out of a base of its own: one number of scans, first draw.

    Args:
        folder: that `keep` made; ``<study>_<region>`` in it holds what ``growing.py --new`` made.
        studies: the tables of the regions that each study leaves out by itself.
    """
    lines: list[str] = []
    for study, own in studies.items():
        others = {r: folder / f"{study}_{r}" / "growing_test.csv" for r in STUDIES[study]["regions"]}
        tables = {region: pd.read_csv(file) for region, file in others.items() if file.is_file()}
        if not tables:
            continue
        (number,) = {int(n) for table in tables.values() for n in table["scans"].unique()}
        tables[STUDIES[study]["new"]] = own[own["scans"] == number]
        heads = list(DRAWN.values())
        lines += ["", f"## {study.capitalize()}: each region left out once, {number} scans, one draw", ""]
        lines += [f"| the new region | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
        rows = {region: _first_draw(tables[region]) for region in STUDIES[study]["regions"] if region in tables}
        rows["**mean**"] = pd.DataFrame(rows).mean(axis=1, skipna=False)
        for region, dice in rows.items():
            cells = " | ".join("" if pd.isna(dice[v]) else f"{100 * dice[v]:.1f}" for v in DRAWN)
            lines.append(f"| {region.replace('_', ' ')} | {cells} |")
    return lines


def old_regions(studies: dict[str, pd.DataFrame]) -> list[str]:
    """A table of what training all weights costs the old regions, whose own predictions rehearse them.

    Args:
        studies: the table of each.
    """
    lines = ["", "## Old regions, where all weights are trained and they are rehearsed (`all`)", ""]
    lines += ["Dice (%) on the test scans, mean over all numbers and draws of scans.", ""]
    lines += [
        "| new region | old region | before, and with every other capacity | after |",
        "| --- | --- | ---: | ---: |",
    ]
    for study, table in studies.items():
        means = table.groupby("variant").mean(numeric_only=True)
        for column in [name for name in means if name.startswith("dice_")]:
            region, after = column.removeprefix("dice_").replace("_", " "), means.loc["rehearsed", column]
            before = f"{100 * means.loc['low_rank', column]:.1f}"
            lines.append(f"| {STUDIES[study]['new'].replace('_', ' ')} | {region} | {before} | {100 * after:.1f} |")
    return lines


def _first_draw(table: pd.DataFrame) -> pd.Series:
    return table[table["draw"] == 0].set_index("variant")["dice"].reindex(list(DRAWN))


def _cell(dice: pd.Series) -> str:
    if dice.empty:
        return ""
    each = f" ({', '.join(f'{100 * value:.0f}' for value in dice)})" if len(dice) > 1 else " (one draw)"
    return f"{100 * dice.mean():.1f}{each}"


def _draw(studies: dict[str, pd.DataFrame], file: Path) -> None:
    """Dice by the number of scans: means as lines, each draw as a point."""
    figure, axes = plt.subplots(1, len(studies), figsize=(3 * len(studies), 2.9), layout="constrained", squeeze=False)
    for ax, (study, table) in zip(axes[0], studies.items(), strict=True):
        for color, (variant, name) in enumerate(DRAWN.items()):
            runs = table[table["variant"] == variant]
            mean = runs.groupby("scans")["dice"].mean()
            ax.plot(mean.index, 100 * mean, "-", color=f"C{color}", label=name)
            ax.plot(runs["scans"], 100 * runs["dice"], "o", color=f"C{color}", markersize=3.5, alpha=0.6)
        ax.set_title(f"{study.partition('_')[0]}: {STUDIES[study]['new'].replace('_', ' ')}", fontsize=10)
        ax.set_xticks(STUDIES[study]["numbers"])
        ax.set_xlabel("scans")
    axes[0][0].set_ylabel("Dice (%) on test scans")
    axes[0][-1].legend(fontsize=8, loc="lower right")
    figure.savefig(file, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    fire.Fire({"keep": keep, "tables": tables})
