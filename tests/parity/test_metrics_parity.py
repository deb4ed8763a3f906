"""Dice and SD95 give the values of the authors' code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conemos_bundle.metrics.dice import dice
from conemos_bundle.metrics.surface_distance import sd95, surface_distances

Arrays = Callable[[str], dict[str, np.ndarray]]


@pytest.mark.parametrize("case", range(4))
def test_dice_and_sd95_of_the_authors(reference_arrays: Arrays, case: int) -> None:
    values = reference_arrays("metrics")
    prediction, reference = values[f"prediction_{case}"], values[f"reference_{case}"]
    assert dice(prediction, reference) == pytest.approx(values[f"dice_{case}"].item(), abs=1e-5)
    assert sd95(prediction, reference) == pytest.approx(values[f"sd95_voxels_{case}"].item(), abs=1e-5)


@pytest.mark.parametrize("case", range(4))
def test_all_surface_distances_of_the_authors_after_their_crop(reference_arrays: Arrays, case: int) -> None:
    """Their crop to the bounding box ends a plane early on each axis: without it, case 0 has another maximum."""
    values = reference_arrays("metrics")
    prediction, reference = values[f"prediction_{case}"], values[f"reference_{case}"]
    voxels = np.argwhere(prediction | reference)
    crop = tuple(slice(first, last) for first, last in zip(voxels.min(0), voxels.max(0), strict=True))
    distances = surface_distances(prediction[crop], reference[crop])
    assert distances.max() == pytest.approx(values[f"sd100_voxels_{case}"].item(), abs=1e-5)
    assert np.percentile(distances, 95) == pytest.approx(values[f"sd95_voxels_{case}"].item(), abs=1e-5)
