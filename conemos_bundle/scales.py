"""At which voxel spacing a network looks at each region, and where: as a plan has it, and as indices.

A plan has one spacing. The scale of a region is a factor per axis, a power of two: that many voxels of the plan's
spacing per voxel of its own. A network that is asked for a region at a scale gets one index, ``k + K * level``: region
k of K, and the place of the factor in `levels`. So networks, their exports and their hosts keep one input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from conemos_bundle.names import RegionName
from conemos_bundle.utils.records import Strict
from pydantic import Field, model_validator

Factor = tuple[int, int, int]
_Side = Annotated[int, Field(ge=1, le=64)]
_Factor = Annotated[list[_Side], Field(min_length=3, max_length=3)]
MOST_LEVELS = 16


class RegionScale(Strict):
    """How one region is looked at.

    ``extent_mm`` is the median length of its bounding box along each axis (RAS); ``factor`` its own scale;
    ``patch_size`` the voxels of a patch there; ``within`` the region whose box it is looked for in, None for the whole
    scan; ``found_at`` a coarser factor at which it is found first, None where it is segmented at once; ``speck``: a
    connected part of it that has less than this of its largest part is taken for a mistake, None: none is.
    """

    extent_mm: Annotated[list[Annotated[float, Field(gt=0, le=1e5)]], Field(min_length=3, max_length=3)]
    factor: _Factor
    patch_size: Annotated[list[Annotated[int, Field(ge=1, le=512)]], Field(min_length=3, max_length=3)]
    within: RegionName | None = None
    found_at: _Factor | None = None
    speck: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _coarser_first(self) -> RegionScale:
        if self.found_at is not None and any(a < b for a, b in zip(self.found_at, self.factor, strict=True)):
            raise ValueError("'found_at' is finer than 'factor'")
        return self


class Scales(NamedTuple):
    """The scales of K regions, by their indices."""

    factors: list[Factor]  # of each level, finest first
    patch_sizes: list[list[int]]  # of each level
    level: list[int]  # of each region
    found_at: list[int | None]  # level at which it is found first
    within: dict[int, int]  # region to the one in whose box it is looked for
    extent_mm: list[list[float]]  # of each region
    speck: list[float | None]  # of each region

    @property
    def levels(self) -> list[set[int]]:
        """The levels at which each region is asked for."""
        pairs = zip(self.level, self.found_at, strict=True)
        return [{own} if found is None else {own, found} for own, found in pairs]


def levels(scales: Mapping[str, Mapping[str, Any]]) -> list[Factor]:
    """The factors of a plan's ``scales``, each once, finest first."""
    used = {tuple(scale[name]) for scale in scales.values() for name in ("factor", "found_at") if scale.get(name)}
    return sorted(used, key=lambda factor: (factor[0] * factor[1] * factor[2], factor))


def check_scales(scales: Mapping[str, Mapping[str, Any]], regions: Sequence[str]) -> None:
    """Refuse scales that do not fit the regions.

    Raises:
        ValueError: other regions, a region inside itself (through others or not), or too many levels.
    """
    if set(scales) != set(regions):
        raise ValueError("'scales' has other regions than 'regions'")
    for region in regions:
        outer, chain = scales[region].get("within"), [region]
        while outer is not None:
            if outer not in scales:
                raise ValueError(f"'scales' looks for {region!r} within {outer!r}, which is no region")
            if outer in chain:
                raise ValueError(f"'scales' looks for {region!r} within itself")
            chain.append(outer)
            outer = scales[outer].get("within")
    if len(levels(scales)) > MOST_LEVELS:
        raise ValueError(f"'scales' has {len(levels(scales))} levels, more than {MOST_LEVELS}")


def region_scales(scales: Mapping[str, Mapping[str, Any]] | None, regions: Sequence[str]) -> Scales | None:
    """``scales`` of a plan, by the indices of ``regions``; None where there are none.

    Raises:
        ValueError: they do not fit the regions (`check_scales`).

    Example::

        >>> brain = {"extent_mm": [90, 70, 80], "factor": [2, 2, 2], "patch_size": [56, 56, 56]}
        >>> eyes = {"extent_mm": [40, 15, 15], "factor": [1, 1, 1], "patch_size": [48, 48, 48], "within": "brain"}
        >>> region_scales({"brain": brain, "eyes": eyes}, ["brain", "eyes"]).within
        {1: 0}
    """
    if not scales:
        return None
    check_scales(scales, regions)
    factors = levels(scales)
    index = {region: k for k, region in enumerate(regions)}
    ordered = [scales[region] for region in regions]
    coarse = [scale.get("found_at") for scale in ordered]
    patches = [[scale["patch_size"] for scale in ordered if tuple(scale["factor"]) == factor] for factor in factors]
    largest = [max(sides) for sides in zip(*(scale["patch_size"] for scale in ordered), strict=True)]
    return Scales(
        factors,
        [[max(sides) for sides in zip(*of_level, strict=True)] or largest for of_level in patches],
        [factors.index(tuple(scale["factor"])) for scale in ordered],
        [None if factor is None else factors.index(tuple(factor)) for factor in coarse],
        {index[region]: index[scale["within"]] for region, scale in scales.items() if scale.get("within")},
        [list(scale["extent_mm"]) for scale in ordered],
        [scale.get("speck") for scale in ordered],
    )


def planned_scales(plan: Mapping[str, Any], regions: Sequence[str]) -> Scales | None:
    """The ``scales`` of a plan, by the indices of ``regions``; None where there are none; errors as `region_scales`."""
    return region_scales(plan.get("scales"), regions)


def spacings(plan: Mapping[str, Any]) -> list[list[float]] | None:
    """The voxel spacing in mm of each level of a plan, for a network that is conditioned on it; None: it has one."""
    if not plan.get("scales"):
        return None
    return [[float(s * f) for s, f in zip(plan["spacing"], factor, strict=True)] for factor in levels(plan["scales"])]


def with_margin(
    first: Sequence[float], end: Sequence[float], factor: Sequence[float]
) -> tuple[list[float], list[float]]:
    """A box that a region was found in, and what lies around: a fifth of each side, two voxels of the scale at least.

    Args:
        first: first voxel of the box, per axis.
        end: its end.
        factor: of what is looked for in it.
    """
    margins = [max(0.2 * (b - a), 2 * side) for a, b, side in zip(first, end, factor, strict=True)]
    return [a - m for a, m in zip(first, margins, strict=True)], [b + m for b, m in zip(end, margins, strict=True)]
