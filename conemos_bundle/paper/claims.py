"""The paper's claims beside what the runs show."""

from __future__ import annotations

import pandas as pd
from conemos_bundle.paper.methods import CONEMOS, INDIVIDUAL, OTHERS_OF_THE_PAPER
from conemos_bundle.paper.parts import Table
from conemos_bundle.paper.statistics import MEAN
from conemos_bundle.paper.tables import SCALES

COLUMNS = ("claim", "claimed", "measured", "criterion", "reproduced")
NOT_RUN = "not run"

# Appendix B: CoNeMOS less the best other method, Dice (%) and SD95 (voxels)
_CLAIMED = {
    "dice": {"uterus": 0.7, "body": -0.2, "brain": 1.0, "eyes": 2.1, "placenta": 1.6},
    "sd95_voxels": {"uterus": -0.7, "body": -0.7, "brain": 0.0, "eyes": -0.1, "placenta": -1.6},
}
_NAMES = {"dice": "Dice", "sd95_voxels": "SD95 (voxels)"}


def claims(
    comparison: pd.DataFrame, by_fraction: pd.DataFrame, by_layers: pd.DataFrame, convolutions: int = 15
) -> pd.DataFrame:
    """One row a claim: what the paper says, what was measured, and whether that meets the criterion named.

    Methods that the paper does not compare are left out. Dice is in percent; p is corrected. A claim about the best, or
    the weakest, other method is judged where those that were not run could not turn the answer.

    Args:
        comparison: the table that `compare` gives.
        by_fraction: `mean_dice_by` the fraction of the training scans.
        by_layers: `mean_dice_by` the number of conditioned convolutions.
        convolutions: of the network.

    Returns:
        columns `COLUMNS`, all texts; ``reproduced`` is ``yes``, ``no`` or ``not run``: not all that it takes.
    """
    table = comparison[comparison["method"].isin([*OTHERS_OF_THE_PAPER, CONEMOS])]
    dice = table[table["metric"] == "dice"]
    rows = [
        _gain("Mean Dice, CoNeMOS less the best other method", dice, MEAN, 1.8, "+1.8 (DoDNet)"),
        _gain(
            "Mean Dice, CoNeMOS less the weakest other method but individual networks",
            dice[dice["method"] != INDIVIDUAL],
            MEAN,
            3.3,
            "+3.3 (Pseudo-labelling)",
            weakest=True,
        ),
    ]
    for metric, claimed in _CLAIMED.items():
        for region in dict.fromkeys(table["region"]):
            if region != MEAN:
                claim = f"{_NAMES[metric]} of {region}, CoNeMOS less the best other method"
                rows.append(_gain(claim, table[table["metric"] == metric], region, claimed.get(region.lower())))
    return pd.DataFrame([*rows, _individual_last(dice), *_less_data(by_fraction), _layers(by_layers, convolutions)])


def claims_table(table: pd.DataFrame) -> Table:
    """`claims`'s table, to be shown."""
    header = ["Claim", "paper", "measured", "counts as reproduced", "reproduced"]
    return Table(header, table[list(COLUMNS)].to_numpy().tolist(), texts=len(COLUMNS))


def judged_claims(table: pd.DataFrame) -> str:
    """How many of `claims`'s claims are reproduced, of those whose runs are there.

    Example::

        >>> judged_claims(pd.DataFrame({"reproduced": ["yes", "no", "yes", NOT_RUN]}))
        '2 of 3'
    """
    judged = table.loc[table["reproduced"] != NOT_RUN, "reproduced"]
    return f"{(judged == 'yes').sum()} of {len(judged)}"


def _row(claim: str, claimed: str, criterion: str, measured: str = "", met: bool | None = None) -> dict[str, str]:
    reproduced = NOT_RUN if met is None else "yes" if met else "no"
    values = (claim, claimed, measured or NOT_RUN, criterion, reproduced)
    return dict(zip(COLUMNS, values, strict=True))


def _as_printed(difference: float) -> float:
    """A criterion judges the difference that the table prints: +0.00 is not above 0."""
    return round(difference, 2)


def _gain(
    claim: str, table: pd.DataFrame, region: str, claimed: float | None, text: str = "", weakest: bool = False
) -> dict[str, str]:
    """CoNeMOS's mean less another method's; ``claimed`` None: the paper has no such region."""
    metric = str(table["metric"].iloc[0])
    sign = 1 if metric == "dice" else -1  # a smaller distance is better
    better = "above" if sign > 0 else "below"
    text = f"{better} 0 in 4 of 5 regions" if claimed is None else text or (f"{claimed:+.1f}" if claimed else "0")
    # where the paper itself has no gain, as much as it has will do
    needed = 0.0 if claimed is None or sign * claimed > 0 else claimed
    strict = claimed is None or sign * claimed > 0
    criterion = f"{better} 0" if strict else f"at {'least' if sign > 0 else 'most'} {text}"

    rows = table[table["region"] == region].set_index("method")
    means = (rows["mean"] * SCALES[metric]).dropna()
    others = means.drop(CONEMOS, errors="ignore")
    if others.empty or CONEMOS not in means:
        return _row(claim, text, criterion)
    other = others.idxmax() if (sign > 0) != weakest else others.idxmin()
    gain = _as_printed(means[CONEMOS] - others[other])
    p = rows.loc[other, "p_corrected"]
    tested = "" if pd.isna(p) else f", p = {p:.2g}"
    excess = sign * (gain - needed)
    met = excess > 0 if strict else excess >= 0
    compared = [method for method in OTHERS_OF_THE_PAPER if not (weakest and method == INDIVIDUAL)]
    if len(others) < len(compared):  # one more could be better than the best of them, or weaker than the weakest
        tested += f"; {len(others)} of {len(compared)} methods"
        return _row(claim, text, criterion, f"{gain:+.2f} ({other}{tested})", met if met == weakest else None)
    return _row(claim, text, criterion, f"{gain:+.2f} ({other}{tested})", met)


def _individual_last(dice: pd.DataFrame) -> dict[str, str]:
    claim, claimed, criterion = "Individual networks come last in mean Dice", "last, far behind", "the lowest"
    means = dice[dice["region"] == MEAN].set_index("method")["mean"].dropna() * SCALES["dice"]
    if INDIVIDUAL not in means or len(means) < 2:
        return _row(claim, claimed, criterion)
    place, lowest_other = int(means.rank(ascending=False)[INDIVIDUAL]), means.drop(INDIVIDUAL).min()
    measured = f"place {place} of {len(means)}, {means[INDIVIDUAL] - lowest_other:+.2f} to the lowest of the others"
    return _row(claim, claimed, criterion, measured, bool(means[INDIVIDUAL] < lowest_other))


def _less_data(by_fraction: pd.DataFrame) -> list[dict[str, str]]:
    drop = "mean Dice from 100% to 25% of the training scans"
    own = (f"CoNeMOS's loss of {drop}", "3.6", "at most 3.6")
    smaller = (f"CoNeMOS's loss of {drop} is smaller than DoDNet's", "3.6, DoDNet 5.1", "smaller")
    dice = by_fraction.pivot(index="method", columns="fraction", values="dice") * SCALES["dice"]
    losses = pd.Series(dtype=float)
    if {1.0, 0.25} <= set(dice.columns):
        losses = (dice[1.0] - dice[0.25]).dropna().map(_as_printed)
    if CONEMOS not in losses:
        return [_row(*own), _row(*smaller)]
    ours = losses[CONEMOS]
    rows = [_row(*own, f"{ours:.2f}", bool(ours <= 3.6))]
    if "DoDNet" not in losses:
        return [*rows, _row(*smaller)]
    theirs = losses["DoDNet"]
    return [*rows, _row(*smaller, f"{ours:.2f}, DoDNet {theirs:.2f}", bool(ours < theirs))]


def _layers(by_layers: pd.DataFrame, convolutions: int) -> dict[str, str]:
    claim = "Mean Dice of CoNeMOS, all convolutions conditioned less the last one alone"
    own = by_layers[by_layers["method"] == CONEMOS].set_index("n_conditioned")["dice"] * SCALES["dice"]
    if not {1, convolutions} <= set(own.index):
        return _row(claim, "+7.2", "above 0")
    gain = _as_printed(own[convolutions] - own[1])
    return _row(claim, "+7.2", "above 0", f"{gain:+.2f} (N = {convolutions} less N = 1)", bool(gain > 0))
