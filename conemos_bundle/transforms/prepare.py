"""What is done to a scan once, before anything random: read, check, orient, resample, scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conemos_bundle.transforms.checks import CheckScand
from conemos_bundle.transforms.intensity import ScalePercentilesd
from conemos_bundle.transforms.loading import LoadImageScand
from conemos_bundle.transforms.masks import LoadRegionMasksd
from conemos_bundle.transforms.resample import OrientToRASd, ResampleToSpacingd
from monai.transforms import Compose

_INTERPOLATION = {"image": "bilinear", "label": "nearest"}  # between a mask's 0, 1 and IGNORED there is nothing


def preparation(plan: Mapping[str, Any], regions: Sequence[str], resample_masks: bool = True) -> Compose:
    """The preparation of a scan with masks; ``configs/inference.json`` spells out that of a scan alone.

    The result takes items as `scan_items` gives them, and puts ``image`` ``(C, D, H, W)`` in [0, 1], ``label``
    ``(n, D, H, W)`` and ``annotated`` ``(n,)`` in their place (`LoadRegionMasksd`).

    Args:
        plan: of the network's input, see `plan_input`.
        regions: names of the K regions, in channel order.
        resample_masks: bring the masks onto the network's grid too; evaluation keeps them on that of their scan.
    """
    keys = ("image", "label") if resample_masks else ("image",)
    return Compose([
        LoadImageScand("image"),
        CheckScand("image", channels=plan["in_channels"]),
        LoadRegionMasksd(regions),
        OrientToRASd(keys),
        ResampleToSpacingd(keys, plan["spacing"], mode=[_INTERPOLATION[key] for key in keys]),
        ScalePercentilesd("image"),
    ])  # fmt: skip


def in_sequence(parts: Sequence[Any]) -> Compose:
    """One flat `Compose` of transforms and of the transforms in other ones.

    Flat, since data sets cache what stands before the first random transform, and MONAI takes a `Compose` for one.

    Args:
        parts: transforms or `Compose`s of them, in order.
    """
    return Compose(list(parts)).flatten()
