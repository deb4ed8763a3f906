"""Dice of two binary masks."""

from __future__ import annotations

import numpy as np
from monai.config.type_definitions import NdarrayOrTensor
from monai.utils import convert_to_numpy


def binary_masks(prediction: NdarrayOrTensor, reference: NdarrayOrTensor) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as boolean arrays (voxels above 0).

    Raises:
        ValueError: the shapes differ, or the reference holds NaN: an unknown region is not an empty one.
    """
    if prediction.shape != reference.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and reference {tuple(reference.shape)} must have one shape"
        )
    values = convert_to_numpy(reference)
    if np.isnan(values).any():
        raise ValueError("the reference holds NaN: this region is not annotated in this scan")
    return convert_to_numpy(prediction) > 0, values > 0


def dice(prediction: NdarrayOrTensor, reference: NdarrayOrTensor) -> float:
    """Dice of two binary masks: twice the voxels they share over the sum of their voxels.

    Args:
        prediction: binary mask of any shape.
        reference: binary mask of the same shape.

    Returns:
        Dice in [0, 1], or NaN where the reference is empty: such a scan is left out of means.

    Raises:
        ValueError: the shapes differ, or the reference holds NaN.
    """
    prediction, reference = binary_masks(prediction, reference)
    if not reference.any():
        return float("nan")
    shared = np.count_nonzero(prediction & reference)
    return 2.0 * shared / (np.count_nonzero(prediction) + np.count_nonzero(reference))
