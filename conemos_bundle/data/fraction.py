"""A fraction of the training scans, to see how much a method loses with fewer of them (paper, Figure 4A)."""

from __future__ import annotations

import numpy as np
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.errors import UserError


def keep_fraction(datalist: Datalist, fraction: float = 1.0, seed: int = 0) -> Datalist:
    """The datalist with a fraction of its training scans; validation and test stay whole.

    Scans that are annotated for the same regions (and lack the same ones) are thinned alike, so that each region keeps
    its part of the annotations; each region keeps at least one scan where it is there. With one seed, a smaller
    fraction is part of a larger one.

    Args:
        datalist: the datalist.
        fraction: of the training scans, in (0, 1].
        seed: which scans stay.

    Raises:
        UserError: the fraction is not in (0, 1].
    """
    if not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise UserError(f"fraction {fraction!r}: give a number above 0, at most 1")
    if fraction == 1:
        return datalist
    groups: dict[frozenset[str], list[int]] = {}
    for index in np.random.default_rng(seed).permutation(len(datalist.training)):
        scan = datalist.training[index]
        known = scan.annotated | {f"{region}: absent" for region in scan.absent}
        groups.setdefault(frozenset(known), []).append(int(index))
    # all scans in one order, in which each group is spread evenly: any beginning of it has of each group its part
    places = {scan: (place + 0.5) / len(scans) for scans in groups.values() for place, scan in enumerate(scans)}
    order = sorted(places, key=places.__getitem__)
    kept = set(order[: round(fraction * len(order))])
    for region in datalist.regions:
        of_region = [scan for scan in order if region in datalist.training[scan].annotated]
        kept.update(of_region[:1])
    return datalist.model_copy(update={"training": [datalist.training[index] for index in sorted(kept)]})
