"""Surface distances of two binary masks, and their 95th percentile, SD95.

The surface of a mask is its voxels with a face neighbor outside the mask. The edge of the image is no surface: where
the field of view cuts through a region, the region goes on. This is the definition of the authors' code; MONAI's
`get_mask_edges` counts the edge of the image, and its `HausdorffDistanceMetric` takes the larger of two directed
percentiles (HD95) where SD95 pools both directions. One thing of theirs is left out: their crop to the bounding box
ends a plane early on each axis, so that the last plane of the masks is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from conemos_bundle.metrics.dice import binary_masks
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms.utils import generate_spatial_bounding_box
from scipy.ndimage import binary_erosion, distance_transform_edt


def _surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~binary_erosion(mask, border_value=1)


def surface_distances(
    prediction: NdarrayOrTensor, reference: NdarrayOrTensor, spacing: Sequence[float] = (1.0, 1.0, 1.0)
) -> np.ndarray:
    """The distance of each surface voxel of one mask to the nearest surface voxel of the other, both directions pooled.

    Args:
        prediction: binary mask (D, H, W).
        reference: binary mask of the same shape.
        spacing: voxel size in mm, one value per axis; (1, 1, 1) gives distances in voxels.

    Returns:
        one distance per surface voxel of either mask, in the unit of ``spacing``; none where a mask is empty or fills
        the image, and so has no surface.

    Raises:
        ValueError: the shapes differ, or the reference holds NaN.
    """
    prediction, reference = binary_masks(prediction, reference)
    # A margin of one voxel keeps what lies just outside the masks, so that only the edge of the image is no surface.
    start, stop = generate_spatial_bounding_box((prediction | reference)[None], margin=1, allow_smaller=True)
    box = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))
    predicted_surface, reference_surface = _surface(prediction[box]), _surface(reference[box])
    if not (predicted_surface.any() and reference_surface.any()):
        return np.empty(0)
    to_reference = distance_transform_edt(~reference_surface, sampling=spacing)[predicted_surface]
    to_prediction = distance_transform_edt(~predicted_surface, sampling=spacing)[reference_surface]
    return np.concatenate([to_reference, to_prediction])


def sd95(prediction: NdarrayOrTensor, reference: NdarrayOrTensor, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> float:
    """SD95: the 95th percentile of the surface distances of both directions pooled.

    Args:
        prediction: binary mask (D, H, W).
        reference: binary mask of the same shape.
        spacing: voxel size in mm, one value per axis; (1, 1, 1) gives SD95 in voxels.

    Returns:
        SD95 in the unit of ``spacing``. A prediction without a surface (empty, or filling the image) gets the largest
        side of the image. NaN where the reference has no surface: such a scan is left out of means.

    Raises:
        ValueError: the shapes differ, or the reference holds NaN.
    """
    prediction, reference = binary_masks(prediction, reference)
    if not reference.any() or reference.all():
        return float("nan")
    distances = surface_distances(prediction, reference, spacing)
    if distances.size == 0:
        return float(np.max(np.multiply(reference.shape, spacing)))
    return float(np.percentile(distances, 95))
