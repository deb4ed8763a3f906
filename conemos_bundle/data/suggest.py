"""Which method suits a data set, by the rules of ``docs/results.md``: sizes of regions, and masks per scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import NamedTuple

from conemos_bundle.data.datalist import Datalist
from conemos_bundle.data.sides import name_some, with_side

FAR_APART = 500  # times the smallest region's volume: 900 (phantom) gain, 200 (brain atlas) and 13 (CHAOS) do not
SEVERAL = 2  # masks per scan, on average


class Suggestion(NamedTuple):
    """A method, the words for it on the command line of `conemos train`, and why."""

    method: str
    words: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        """In one line."""
        words = f"train {' '.join(self.words)}" if self.words else "the default"
        return f"{self.method} ({words}): {self.reason}"


def suggest_method(datalist: Datalist, volumes: Mapping[str, Sequence[float]]) -> Suggestion:
    """The method to try first.

    Args:
        datalist: the data set.
        volumes: of each region those in the scans where it is annotated, in any unit.

    Example::

        >>> scan = {"image": "a.nii", "subject": "a", "masks": {"uterus": "b.nii"}}
        >>> data = Datalist.model_validate({"regions": ["uterus", "eyes"], "training": [scan]})
        >>> print(suggest_method(data, {"uterus": [3000.0, 2000.0], "eyes": [2.0]}))
        CoNeMOS (train --scales own): 'uterus' is 1250 times as large as 'eyes', so each gets its own spacing
    """
    sizes = {region: median(found) for region, found in volumes.items() if found}
    masks = [len(scan.annotated) for scan in datalist.training if scan.annotated]
    if len(datalist.regions) == 1:
        return Suggestion("CoNeMOS", (), "there is one region, for which the methods hardly differ")
    largest, smallest = (pick(sizes, key=sizes.__getitem__, default="") for pick in (max, min))
    if largest and sizes[largest] >= FAR_APART * sizes[smallest] > 0:
        ratio = f"{sizes[largest] / sizes[smallest]:.0f}"
        reason = f"{largest!r} is {ratio} times as large as {smallest!r}, so each gets its own spacing"
        return Suggestion("CoNeMOS", ("--scales", "own"), reason)
    each = f"{fmean(masks) if masks else 0:.1f} masks per scan"
    if masks and fmean(masks) >= SEVERAL:
        reason = f"{each}, about as good as CoNeMOS, and all regions at the cost of one; to add regions later, CoNeMOS"
        return Suggestion("PSL loss", ("--overlay", "psl_loss"), reason)
    return Suggestion("CoNeMOS", (), f"{each}: as good as PSL loss or better, and regions can be added later")


def advise_on_sides(regions: Sequence[str]) -> str:
    """A line where regions name a side, which flips would make wrong; empty where none does."""
    sided = with_side(regions)
    return (
        f"{name_some(sided)} name a side: train without flips along the first axis, as is the default" if sided else ""
    )
