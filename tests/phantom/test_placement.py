from __future__ import annotations

import numpy as np
from conemos_bundle.phantom.fetus import spheres
from conemos_bundle.phantom.geometry import turn
from conemos_bundle.phantom.placement import Fetus, draw_fetus
from conemos_bundle.phantom.pregnancy import Pregnancy, draw_pregnancy, uterus_distances


def beyond_the_wall(pregnancy: Pregnancy, fetus: Fetus) -> np.ndarray:
    """How far each sphere of the fetus reaches beyond the cavity, in mm: an oracle that goes through single points."""
    reach = []
    for x, y, z, radius in spheres(fetus.pose):
        place = turn(pregnancy.uterus_rotation, fetus.rotation @ (x, y, z) + fetus.center).reshape(3, 1, 1, 1)
        reach.append(float(uterus_distances(place.astype(np.float32), pregnancy)["uterus"].item()) + radius)
    return np.array(reach)


def test_the_fetus_has_room() -> None:
    reach = []
    for seed in range(5):
        pregnancy = draw_pregnancy(np.random.default_rng(seed))
        fetus = draw_fetus(np.random.default_rng(seed + 50), pregnancy)
        reach.append(beyond_the_wall(pregnancy, fetus).max())
        assert np.linalg.det(fetus.rotation) > 0.99  # turned, never mirrored
    assert np.median(reach) < 3 and max(reach) < 20  # skin is soft, and cut at the wall


def test_another_scan_another_pose_the_same_again_the_same() -> None:
    pregnancy = draw_pregnancy(np.random.default_rng(2))
    first, again, other = (draw_fetus(np.random.default_rng(seed), pregnancy) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.pose.bones, again.pose.bones)
    np.testing.assert_array_equal(first.center, again.center)
    assert np.abs(first.rotation - other.rotation).max() > 0.1
    assert np.abs(first.pose.bones - other.pose.bones).max() > 5
    np.testing.assert_array_equal(first.pose.size.skull, other.pose.size.skull)  # it does not grow in between


def test_the_cord_runs_from_the_navel_to_the_placenta() -> None:
    pregnancy = draw_pregnancy(np.random.default_rng(2))
    fetus = draw_fetus(np.random.default_rng(0), pregnancy)
    navel, end = fetus.cord[0, 0, :3], fetus.cord[-1, 1, :3]
    own = fetus.rotation.T @ (navel - fetus.center)
    assert np.linalg.norm(own - (0, 0.95 * fetus.pose.size.trunk, 0)) < 1e-6
    assert end @ pregnancy.placenta_axis > 0
    np.testing.assert_array_equal(fetus.cord[1:, 0], fetus.cord[:-1, 1])  # one chain
