"""Which regions a user asks for."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.names import check_region_names


def asked_regions(regions: str | Sequence[str] | None, region_names: Sequence[str]) -> list[str]:
    """The names of the R regions asked for, checked: plain text that is compared and never evaluated.

    Args:
        regions: one name, a list of names, or None (or an empty list): all.
        region_names: the K regions of the network.

    Raises:
        UserError: a name that the network does not know, or one named twice, or what is no text; the network's own
            names cannot be regions'.
    """
    check_region_names(region_names, "the model")  # these become names of files
    known = ", ".join(region_names)
    listed = regions is None or isinstance(regions, list | tuple)
    asked: list[str] = list(regions or region_names) if listed else [regions]  # type: ignore[list-item]
    asked = [unicodedata.normalize("NFC", name) if isinstance(name, str) else name for name in asked]
    for region in asked:
        if (
            not isinstance(region, str) and str(region) in region_names
        ):  # `monai.bundle run` reads 1 as a number, True as a truth value
            raise UserError(f"region {region!r} is no text; write it as in --regions \"['{region}']\"")
        if region not in region_names:
            raise UserError(f"region {region!r} is unknown; this model knows: {known}")
        if asked.count(region) > 1:
            raise UserError(f"region {region!r} is asked for twice")
    return asked


def region_indices(regions: Sequence[str], region_names: Sequence[str]) -> torch.Tensor:
    """The indices ``(R,)`` of the regions asked for among the K of the network."""
    return torch.tensor([list(region_names).index(region) for region in regions])
