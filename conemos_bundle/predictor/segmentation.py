"""What a predictor finds in a scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from conemos_bundle.inferers.saving import region_size


@dataclass(frozen=True)
class Segmentation:
    """The regions of a scan that were asked for.

    ``masks`` is ``(R, D, H, W)``, 0 and 1, on the scan's own grid; regions may overlap. ``affine`` takes voxels to mm
    in RAS. ``found["anterior"]`` is the mask ``(D, H, W)`` of a region. Where they were asked for, ``probabilities``
    are ``(R, D, H, W)`` in [0, 1], and ``confidences`` say how sure the network is of each region, in [0, 1]
    (`soft_dice_confidence`, on the grid of the network). ``meta`` is what is known of the scan: its file, its header.
    ``missed`` has the regions that were looked for in the whole scan, since the one within which they should lie was
    not found, and which that is.
    """

    regions: list[str]
    masks: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float32] | None = None
    confidences: dict[str, float] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False)
    missed: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, region: str) -> npt.NDArray[np.uint8]:
        if region not in self.regions:
            raise KeyError(f"{region!r} was not asked for; here are {', '.join(self.regions)}")
        return self.masks[self.regions.index(region)]

    def __repr__(self) -> str:
        found = ", ".join(f"{region} {volume:.4g} ml" for region, volume in self.volumes_ml.items())
        return f"Segmentation({found}; {' x '.join(map(str, self.masks.shape[1:]))} voxels)"

    @property
    def sizes(self) -> dict[str, dict[str, float]]:
        """``voxels`` and ``volume_ml`` of each region."""
        return {r: region_size(mask, self.affine) for r, mask in zip(self.regions, self.masks, strict=True)}

    @property
    def volumes_ml(self) -> dict[str, float]:
        """The volume of each region."""
        return {region: size["volume_ml"] for region, size in self.sizes.items()}

    def image(self, region: str) -> nibabel.Nifti1Image:
        """A region's mask as a NIfTI image."""
        return nibabel.Nifti1Image(self[region], self.affine)


def collect(parts: Iterable[Segmentation], regions: Sequence[str]) -> Segmentation:
    """Segmentations of one region each as one of all ``regions``, in their order; each is released before the next."""
    masks: npt.NDArray[np.uint8] | None = None
    probabilities: npt.NDArray[np.float32] | None = None
    sure: dict[str, float] = {}
    missed: dict[str, str] = {}
    for part in parts:
        place, shape = list(regions).index(part.regions[0]), (len(regions), *part.masks.shape[1:])
        if masks is None:
            masks, affine, meta = np.empty(shape, np.uint8), part.affine, part.meta
            probabilities = None if part.probabilities is None else np.empty(shape, np.float32)
        masks[place] = part.masks[0]
        if probabilities is not None and part.probabilities is not None:
            probabilities[place] = part.probabilities[0]
        sure |= part.confidences or {}
        missed |= part.missed
    assert masks is not None, "no region"
    confidences = {region: sure[region] for region in regions} if sure else None
    return Segmentation(list(regions), masks, affine, probabilities, confidences, meta, missed)
