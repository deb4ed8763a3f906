"""What stands between MONAI Label's requests and the network, and between its masks and MONAI Label's answer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from conemos_bundle.hosts.label.uncertainty import soft_dice_confidence
from conemos_bundle.inferers import infer, region_indices
from conemos_bundle.inferers.saving import paint_labels, region_size
from monai.data import MetaTensor
from monai.transforms import Transform


class TagAskedRegionsd(Transform):
    """Write the regions asked for on the image, since MONAI Label hands the inferer nothing else."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Tag ``image``, a `MetaTensor`."""
        data["image"].meta["asked_regions"] = list(data["asked_regions"])
        return dict(data)


def infer_asked(
    inputs: MetaTensor, network: torch.nn.Module, region_names: Sequence[str], **options: Any
) -> torch.Tensor:
    """Logits ``(1, R, D, H, W)`` of the regions that the image ``(1, C, D, H, W)`` is tagged with; see `infer`."""
    return infer(inputs, network, regions=region_indices(inputs.meta["asked_regions"], region_names), **options)


class RegionConfidenced(Transform):
    """How sure the network is of each region: ``confidence``, R numbers in [0, 1], from ``pred``, probabilities
    ``(R, D, H, W)``."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add them."""
        return {**data, "confidence": [soft_dice_confidence(channel) for channel in data["pred"]]}


class PaintAskedRegionsd(Transform):
    """The binary prediction ``pred`` ``(R, D, H, W)`` as a label map ``(1, D, H, W)``, which every client can read.

    ``masks`` keeps the prediction, where regions may overlap; ``result`` says voxels, volume (ml), confidence and value
    of each region, before any painting.

    Args:
        region_names: the regions of the label map, in paint order, outer first; the k-th has the value k = 1, 2, ….
    """

    def __init__(self, region_names: Sequence[str]) -> None:
        self.region_names = list(region_names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Paint them."""
        painted, asked = dict(data), data["asked_regions"]
        prediction: MetaTensor = data["pred"]
        masks = (prediction.detach().cpu().numpy() > 0.5).astype(np.uint8)
        affine = prediction.affine.detach().cpu().numpy().astype(np.float64)
        painted["masks"] = MetaTensor(masks, affine=torch.from_numpy(affine))
        labels = paint_labels(masks, asked, self.region_names, self.region_names)
        painted["pred"] = MetaTensor(torch.from_numpy(labels[None]), meta=prediction.meta)
        painted["result"] = {
            "regions": {
                region: {
                    **region_size(mask, affine),
                    "confidence": round(confidence, 4),
                    "value": self.region_names.index(region) + 1,
                }
                for region, mask, confidence in zip(asked, masks, data["confidence"], strict=True)
            }
        }
        return painted
