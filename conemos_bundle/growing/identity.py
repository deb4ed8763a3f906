"""That a model which has grown computes its old regions as before, to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.growing.model import Growing
from conemos_bundle.inferers.encode_once import EncodeOnce
from torch import nn

AT_ONCE = 8  # regions asked for directly: memory grows with them, as it does not where a predictor asks


def check_unchanged(
    before: Growing,
    network: nn.Module,
    regions: Sequence[str],
    rename: Mapping[str, str] | None = None,
    removed: Sequence[str] = (),
) -> None:
    """Compare outputs before and after: each region by itself, pairs, all, on two sizes of images.

    Args:
        before: the model that grew.
        network: what it is now.
        regions: its regions now.
        rename: new names, by the old ones.
        removed: regions that are no longer there, though another one may have their name.

    Raises:
        UserError: one differs; nothing should be saved then.
    """
    rename = rename or {}
    now = {region: index for index, region in enumerate(regions)}
    kept = [region for region in before.record.regions if region not in removed]
    for image in _images(before):
        for asked in _questions(kept):
            theirs = torch.tensor([before.record.regions.index(region) for region in asked])
            ours = torch.tensor([now[rename.get(region, region)] for region in asked])
            if not _equal(image, before.network, theirs, network, ours):
                raise UserError(
                    f"{before.folder}: {', '.join(asked)} would no longer be computed as before; nothing was saved "
                    "(this is a fault of ours: please report it)"
                )


def _equal(image: torch.Tensor, old: nn.Module, theirs: torch.Tensor, new: nn.Module, ours: torch.Tensor) -> bool:
    """Asked for directly, and as a predictor does, a few at a time, with all that was added behind them."""
    added = torch.arange(int(getattr(new, "old", 0)) or int(new.num_regions), int(new.num_regions))  # type: ignore[arg-type]
    with torch.no_grad():
        before = EncodeOnce(old)(image, theirs)
        after = EncodeOnce(new)(image, torch.cat([ours, added[~torch.isin(added, ours)]]))[:, : len(theirs)]
        if not torch.equal(before, after):
            return False
        return len(theirs) > AT_ONCE or torch.equal(old(image, theirs), new(image, ours))


def _images(model: Growing) -> Iterator[torch.Tensor]:
    channels, window = model.record.plan.in_channels, model.record.plan.patch_size
    generator = torch.Generator().manual_seed(0)
    for sides in (window, [max(8, side // 2 + 3) for side in window]):
        yield torch.rand(1, channels, *sides, generator=generator)


def _questions(regions: Sequence[str]) -> list[list[str]]:
    """Each region, neighbors, all, all backwards."""
    pairs = [list(pair) for pair in list(combinations(regions, 2))[:4]]
    return [*([region] for region in regions), *pairs, list(regions), list(regions)[::-1]]
