"""The methods compared: their order, colors and markers, the same in every table and figure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CONEMOS = "CoNeMOS"
INDIVIDUAL = "Individual networks"
PSEUDO_LABELLING = "Pseudo-labelling"
OTHERS_OF_THE_PAPER = (INDIVIDUAL, PSEUDO_LABELLING, "PSL loss", "Multi-layer", "Multi-decoder", "DoDNet")

# Okabe and Ito's colors, which color-blind readers tell apart; vermilion is CoNeMOS's alone
_COLORS = ("#999999", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#CC79A7", "#8C6D31", "#F0E442", "#44AA99")
_MARKERS = ("s", "^", "v", "D", "P", "X", "<", ">", "h")


@dataclass(frozen=True)
class Style:
    """How a method is drawn."""

    color: str
    marker: str
    width: float  # of its lines


def in_order(methods: Iterable[str]) -> list[str]:
    """Each method once: those of the paper in its order, then others by name, CoNeMOS last."""
    found = set(methods)
    others = sorted(found - {*OTHERS_OF_THE_PAPER, CONEMOS})
    return [method for method in (*OTHERS_OF_THE_PAPER, *others, CONEMOS) if method in found]


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """A style per method, in order; a method of the paper has its own whatever else is drawn."""
    ordered = in_order(methods)
    others = [method for method in ordered if method not in (*OTHERS_OF_THE_PAPER, CONEMOS)]
    places = {method: place % len(_COLORS) for place, method in enumerate((*OTHERS_OF_THE_PAPER, *others))}
    found = {name: Style(_COLORS[place], _MARKERS[place], 1.3) for name, place in places.items() if name in ordered}
    return {method: found.get(method, Style("#D55E00", "o", 2.4)) for method in ordered}
