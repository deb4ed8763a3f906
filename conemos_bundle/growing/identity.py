"""That a model which has grown computes its old regions as before, to the bit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.growing.model import Growing
from conemos_bundle.inferers import infer
from conemos_bundle.inferers.each_region import infer_each
from conemos_bundle.inferers.encode_once import EncodeOnce
from torch import nn

logger = logging.getLogger(__name__)
AT_ONCE = 8  # regions asked for directly: memory grows with them, as it does not where a predictor asks


def check_unchanged(
    before: Growing,
    network: nn.Module,
    regions: Sequence[str],
    rename: Mapping[str, str] | None = None,
    removed: Sequence[str] = (),
) -> None:
    """Compare outputs before and after, on two sizes of images.

    The network's own regions by themselves, in pairs and together; those that were added, each of which is a pass by
    itself whatever it is asked with, once, together with all others.

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
    logger.info(f"checking that the {len(kept)} regions there were are computed as before")
    for image in _images(before):
        for asked in [*_questions([region for region in kept if region not in before.added]), kept]:
            theirs = [before.record.regions.index(region) for region in asked]
            ours = [now[rename.get(region, region)] for region in asked]
            equal = _equal_among_all if asked is kept else _equal
            if not equal(image, before.network, theirs, network, ours):
                raise UserError(
                    f"{before.folder}: {', '.join(asked)} would no longer be computed as before; nothing was saved "
                    "(this is a fault of ours: please report it)"
                )


def _equal(image: torch.Tensor, old: nn.Module, theirs: list[int], new: nn.Module, ours: list[int]) -> bool:
    """Asked for directly, and as a predictor does, a few at a time."""
    with torch.no_grad():
        before, after = (
            EncodeOnce(network)(image, torch.tensor(asked)) for network, asked in ((old, theirs), (new, ours))
        )
        if not torch.equal(before, after):
            return False
        return len(theirs) > AT_ONCE or torch.equal(old(image, torch.tensor(theirs)), new(image, torch.tensor(ours)))


def _equal_among_all(image: torch.Tensor, old: nn.Module, theirs: list[int], new: nn.Module, ours: list[int]) -> bool:
    """As of a large scan, of which two regions' logits are in memory at once, with all that was added in front."""
    more = range(int(getattr(new, "old", new.num_regions)), int(new.num_regions))  # type: ignore[arg-type]
    two = 2 * image[0, 0].numel()
    with torch.no_grad():
        before, after = (
            dict(infer_each(infer, image, EncodeOnce(network), dict.fromkeys(asked, ""), {}, two))
            for network, asked in ((old, theirs), (new, [*(k for k in more if k not in ours), *ours]))
        )
    return all(torch.equal(before[k], after[now]) for k, now in zip(theirs, ours, strict=True))


def _images(model: Growing) -> Iterator[torch.Tensor]:
    channels, window = model.record.plan.in_channels, model.record.plan.patch_size
    generator = torch.Generator().manual_seed(0)
    for sides in (window, [max(8, side // 2 + 3) for side in window]):
        yield torch.rand(1, channels, *sides, generator=generator)


def _questions(regions: Sequence[str]) -> list[list[str]]:
    """Each region, neighbors, all, all backwards."""
    pairs = [list(pair) for pair in list(combinations(regions, 2))[:4]]
    return [*([region] for region in regions), *pairs, list(regions), list(regions)[::-1]]
