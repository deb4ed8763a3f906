from __future__ import annotations

import numpy as np
import pytest
from conemos_bundle.predictor import Segmentation


def segmentation() -> Segmentation:
    masks = np.zeros((2, 4, 5, 6), np.uint8)
    masks[0, :2] = masks[1, 0, 0, 0] = 1
    return Segmentation(["liver", "spleen"], masks, np.diag([10.0, 10, 10, 1]))


def test_it_shows_regions_volumes_and_size_rather_than_voxels() -> None:
    assert repr(segmentation()) == "Segmentation(liver 60 ml, spleen 1 ml; 4 x 5 x 6 voxels)"


def test_a_region_that_was_not_asked_for_is_named_with_those_that_were() -> None:
    assert segmentation()["spleen"].sum() == 1
    with pytest.raises(KeyError, match="'kidneys' was not asked for; here are liver, spleen"):
        segmentation()["kidneys"]
