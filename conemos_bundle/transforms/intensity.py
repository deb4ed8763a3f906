"""Intensities between two percentiles, also of scans that are nearly all background."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ScaleIntensityRange
from monai.transforms.utils_pytorch_numpy_unification import percentile
from monai.utils import ImageMetaKey, convert_to_dst_type, convert_to_tensor

logger = logging.getLogger(__name__)
_told: set[str] = set()  # files: a line per file and process, however often it is read

ROUNDING = 4e-6  # of a value, by which resampling in float32 moves a background that was constant


def intensity_range(channel: torch.Tensor, lower: float, upper: float) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """The intensities that become 0 and 1.

    The percentiles of all voxels; where both are one value up to rounding, the background, those of what is not
    background. Where these are one value too, as in a binary image, the least and the greatest intensity.

    Args:
        channel: any shape.
        lower: percentile, in [0, 100].
        upper: percentile, in [0, 100].

    Returns:
        the two, and whether the percentiles of all voxels were one value. The two are equal for a constant channel.
    """
    low, high = _percentiles(channel, lower, upper)
    if not _one_value(low, high):
        return low, high, False
    rest = channel[(channel - low).abs() > ROUNDING * low.abs()]
    if rest.numel():
        low, high = _percentiles(rest, lower, upper)
    if _one_value(low, high):
        low, high = torch.aminmax(channel)
    return low, high, True


def _percentiles(values: torch.Tensor, lower: float, upper: float) -> tuple[torch.Tensor, torch.Tensor]:
    low, high = (torch.as_tensor(percentile(values, q)) for q in (lower, upper))
    return low, high


def _one_value(low: torch.Tensor, high: torch.Tensor) -> bool:
    return bool(high - low <= ROUNDING * torch.maximum(low.abs(), high.abs()))


def to_unit(part: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """[low, high] to [0, 1], clipped, float32; a constant to 0."""
    if low == high:
        return torch.zeros_like(part, dtype=torch.float32)
    scale = ScaleIntensityRange(low, high, 0.0, 1.0, clip=True)  # type: ignore[arg-type]
    scaled = torch.empty_like(part, dtype=torch.float32)
    for target, planes in zip(scaled, part, strict=True):  # of a large scan, MONAI's copies are of a plane each
        target.copy_(convert_to_tensor(scale(planes), track_meta=False))
    return scaled


class ScalePercentilesd(MapTransform):
    """MONAI's `ScaleIntensityRangePercentilesd` to [0, 1], clipped, that never passes raw intensities on.

    MONAI leaves an image as it is where the two percentiles coincide, as in a masked scan of which more than 99.5% is
    0. Here the percentiles are then those of what is not background (`intensity_range`), and a warning names the file.

    Args:
        keys: images ``(C, …)``.
        lower: percentile of the intensity that becomes 0.
        upper: percentile of the intensity that becomes 1.
        channel_wise: each channel by its own percentiles.
        allow_missing_keys: do not mind where an image is absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        lower: float = 0.5,
        upper: float = 99.5,
        channel_wise: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.lower, self.upper, self.channel_wise = lower, upper, channel_wise

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale the images."""
        scaled = dict(data)
        for key in self.key_iterator(scaled):
            scaled[key] = self._scale(scaled[key])
        return scaled

    def _scale(self, image: torch.Tensor) -> torch.Tensor:
        values = image.as_tensor() if isinstance(image, MetaTensor) else torch.as_tensor(image)
        parts = list(values) if self.channel_wise else [values]
        ranges = [intensity_range(part, self.lower, self.upper) for part in parts]
        # patches of training have no file: the preparation of their scan has named it before
        file = image.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(image, MetaTensor) else None
        if file and str(file) not in _told and any(coincide for *_, coincide in ranges):
            _told.add(str(file))
            logger.warning(
                f"{file}: nearly all voxels are background (percentiles {self.lower:g} and {self.upper:g} are one "
                "value): intensities are scaled by the percentiles of the other voxels"
            )
        done = [to_unit(part, low, high) for part, (low, high, _) in zip(parts, ranges, strict=True)]
        one = done[0][None] if self.channel_wise else done[0]
        result = torch.stack(done) if len(done) > 1 else one
        return convert_to_dst_type(result, dst=image, dtype=torch.float32)[0]
