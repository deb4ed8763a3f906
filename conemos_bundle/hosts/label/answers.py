"""What MONAI Label answers of a segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from conemos_bundle.inferers.saving import paint_labels
from conemos_bundle.predictor import Segmentation
from monai.data import MetaTensor


def answer(found: Segmentation, region_names: Sequence[str]) -> dict[str, Any]:
    """The masks, and a label map, which every client can read.

    Args:
        found: R regions of a scan, with confidences.
        region_names: the regions of the label map, in paint order, outer first; the k-th has the value k = 1, 2, ….

    Returns:
        ``pred``, the label map, a `MetaTensor` ``(D, H, W)``; ``masks``, ``(R, D, H, W)``, where regions may overlap;
        ``result``: voxels, volume (ml), confidence and value of each region, before any painting.
    """
    affine = torch.from_numpy(found.affine)
    labels = paint_labels(zip(found.regions, found.masks, strict=True), region_names, region_names)
    return {
        "pred": MetaTensor(torch.from_numpy(labels), affine=affine),
        "masks": MetaTensor(torch.from_numpy(found.masks), affine=affine),
        "result": {
            "regions": {
                region: {
                    **size,
                    "confidence": rounded_confidences(found)[region],
                    "value": list(region_names).index(region) + 1,
                }
                for region, size in found.sizes.items()
            }
        },
    }


def rounded_confidences(found: Segmentation) -> dict[str, float]:
    """How sure the model is of each region, in [0, 1], as clients are told and scores are kept."""
    return {region: round(confidence, 4) for region, confidence in (found.confidences or {}).items()}
