"""Which regions a user asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from conemos_bundle.errors import UsageError
from conemos_bundle.names import check_region_names
from conemos_bundle.utils.nearest import match_region


def asked_regions(regions: str | Sequence[str] | None, region_names: Sequence[str]) -> list[str]:
    """The names of the R regions asked for, checked: plain text that is compared and never evaluated.

    Args:
        regions: one name, a list of names, or None (or an empty list): all; in upper or lower case.
        region_names: the K regions of the network.

    Raises:
        UsageError: a name that the network does not know, or one named twice, or what is no text.
        UserError: the network's own names cannot be regions'.
    """
    check_region_names(region_names, "the model")  # these become names of files
    listed = regions is None or isinstance(regions, list | tuple)
    asked: list[str] = list(regions or region_names) if listed else [regions]  # type: ignore[list-item]
    for region in asked:
        if isinstance(region, str):
            continue
        if str(region) in region_names:  # `monai.bundle run` reads 1 as a number, True as a truth value
            written = json.dumps(str([str(region)]))
            raise UsageError(f"region {region!r} is no text; write it as in --regions {written}")
        raise UsageError(f"region {region!r} is unknown; this model knows: {', '.join(region_names)}")
    asked = [match_region(region, region_names) for region in asked]
    for region in asked:
        if asked.count(region) > 1:
            raise UsageError(f"region {region!r} is asked for twice")
    return asked


def region_indices(regions: Sequence[str], region_names: Sequence[str]) -> torch.Tensor:
    """The indices ``(R,)`` of the regions asked for among the K of the network."""
    return torch.tensor([list(region_names).index(region) for region in regions])
