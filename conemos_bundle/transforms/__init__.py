"""MONAI transforms: masks of regions, resampling, intensities, spatial augmentation."""

from conemos_bundle.transforms.augment import augmentation
from conemos_bundle.transforms.checks import CheckScand
from conemos_bundle.transforms.intensity import ScalePercentilesd
from conemos_bundle.transforms.loading import LoadImageScand
from conemos_bundle.transforms.masks import ExpandRegionsd, LoadRegionMasksd
from conemos_bundle.transforms.prepare import in_sequence, preparation
from conemos_bundle.transforms.resample import OrientToRASd, ResampleToSpacingd
from conemos_bundle.transforms.spatial import RandDeformd

__all__ = [
    "CheckScand",
    "ExpandRegionsd",
    "LoadImageScand",
    "LoadRegionMasksd",
    "OrientToRASd",
    "RandDeformd",
    "ResampleToSpacingd",
    "ScalePercentilesd",
    "augmentation",
    "in_sequence",
    "preparation",
]
