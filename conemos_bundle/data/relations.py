"""Which regions contain, overlap or exclude which, as told by the scans where both are annotated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_matrix

Relation = tuple[str, str, str, int]
"""(a, "contains" | "inside" | "overlaps" | "excludes", b, number of scans that tell), a before b in the datalist."""

TOLERANCE = 0.005  # rasters and raters disagree by a few voxels: this part of a region may lie on the wrong side


def shared_voxels(voxels: Mapping[str, np.ndarray], regions: Sequence[str]) -> np.ndarray:
    """How many voxels each two regions of one scan share.

    Args:
        voxels: for each annotated region the flat indices of its voxels, as `numpy.flatnonzero` gives them.
        regions: all K regions.

    Returns:
        (K, K), the sizes of the regions on the diagonal, NaN in the rows and columns of regions that are unknown.
    """
    annotated = [index for index, region in enumerate(regions) if region in voxels]
    shared = np.full((len(regions), len(regions)), np.nan)
    if annotated:
        columns = [voxels[regions[index]] for index in annotated]
        starts = np.cumsum([0, *(len(column) for column in columns)])
        indices = np.concatenate(columns)
        width = int(indices.max(initial=0)) + 1
        masks = csr_matrix((np.ones(len(indices), np.int64), indices, starts), shape=(len(annotated), width))
        shared[np.ix_(annotated, annotated)] = (masks @ masks.T).toarray()
    return shared


def relations(shared: Sequence[np.ndarray], regions: Sequence[str], tolerance: float = TOLERANCE) -> list[Relation]:
    """The relation of each two regions that holds in every scan where both are annotated and neither is empty.

    `a` contains `b` where at most 0.5% of the voxels of `b` lie outside `a`; they exclude each other where they share
    at most 0.5% of the smaller one; otherwise, and where the scans differ, they overlap. Of two equal regions the first
    contains the second.

    Args:
        shared: one (K, K) array of `shared_voxels` per scan.
        regions: the K regions.
        tolerance: another part than 0.5%, where masks are predictions.

    Returns:
        one relation a pair; pairs that no scan tells about are left out.
    """
    found: list[Relation] = []
    stacked = np.stack(shared) if len(shared) else np.empty((0, len(regions), len(regions)))
    for i, a in enumerate(regions):
        for j, b in enumerate(regions[i + 1 :], start=i + 1):
            both, size_a, size_b = stacked[:, i, j], stacked[:, i, i], stacked[:, j, j]
            tells = ~np.isnan(both) & (size_a > 0) & (size_b > 0)
            if not tells.any():
                continue
            both, size_a, size_b = both[tells], size_a[tells], size_b[tells]
            if (both >= (1 - tolerance) * size_b).all():
                name = "contains"
            elif (both >= (1 - tolerance) * size_a).all():
                name = "inside"
            elif (both <= tolerance * np.minimum(size_a, size_b)).all():
                name = "excludes"
            else:
                name = "overlaps"
            found.append((a, name, b, int(tells.sum())))
    return found


def group_relations(found: Sequence[Relation], regions: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """For each region and relation, those later in the datalist that it holds with, and how many scans tell.

    Args:
        found: of `relations`.
        regions: the K regions.

    Returns:
        ``(region, relation, others)``; the relation of pairs that no scan tells about is ``"unknown"``, the last one.

    Example::

        >>> group_relations([("body", "contains", "eye", 3)], ["body", "eye", "cord"])
        [('body', 'contains', ['eye (3)']), ('body', 'unknown', ['cord']), ('eye', 'unknown', ['cord'])]
    """
    told = {(a, b): (name, scans) for a, name, b, scans in found}
    rows = []
    for i, a in enumerate(regions):
        groups: dict[str, list[str]] = {}
        for b in regions[i + 1 :]:
            name, scans = told.get((a, b), ("unknown", 0))
            groups.setdefault(name, []).append(f"{b} ({scans})" if scans else b)
        unknown = groups.pop("unknown", [])
        rows += [(a, "is inside" if name == "inside" else name, others) for name, others in groups.items()]
        if unknown:
            rows.append((a, "unknown", unknown))
    return rows


def describe(found: Sequence[Relation], regions: Sequence[str]) -> list[str]:
    """One line per region and relation, with the number of scans that tell; pairs without a relation are unknown."""
    return [
        f"{a} and {', '.join(others)}: unknown: never annotated together"
        if name == "unknown"
        else f"{a} {name} {', '.join(others)}"
        for a, name, others in group_relations(found, regions)
    ]
