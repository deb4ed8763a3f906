from __future__ import annotations

import numpy as np
import pytest
from conemos_bundle.phantom.epi import BRIGHTNESS, acquire, rician
from conemos_bundle.phantom.geometry import grid_points
from conemos_bundle.phantom.maternal import paint, smooth_noise
from conemos_bundle.phantom.motion import Motion


def test_noise_is_rician() -> None:
    rng = np.random.default_rng(0)
    background = rician(np.zeros((60, 60, 60), np.float32), 0.03, rng)
    assert background.mean() == pytest.approx(0.03 * np.sqrt(np.pi / 2), rel=0.01)  # Rayleigh
    assert background.std() == pytest.approx(0.03 * np.sqrt(2 - np.pi / 2), rel=0.01)
    bright = rician(np.ones((60, 60, 60), np.float32), 0.03, rng)
    assert bright.mean() == pytest.approx(1 + 0.03**2 / 2, abs=3e-4)
    assert bright.std() == pytest.approx(0.03, rel=0.02)


def test_paint_has_partial_volume() -> None:
    distance = np.array([-5.0, -1.5, 0.0, 0.75, 1.5, 9.0])
    np.testing.assert_allclose(paint(np.zeros(6), distance, 1.0, spacing=3.0), [1, 1, 0.5, 0.25, 0, 0])


def test_smooth_noise() -> None:
    noise = smooth_noise((40, 40, 40), 2.0, np.random.default_rng(0))
    assert noise.std() == pytest.approx(1, abs=1e-5) and abs(noise.mean()) < 0.1
    assert np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1] > 0.85


def test_contrasts_are_those_of_t2_star() -> None:
    mean = {name: value[0] for name, value in BRIGHTNESS.items()}
    assert mean["liver"] < mean["body"] < mean["placenta"] < mean["brain"] < mean["uterus"]
    assert mean["brain"] < mean["fluid around the brain"] and mean["brain"] < mean["eyes"]
    assert mean["uterus"] - mean["brain"] < 0.25  # low contrast


@pytest.mark.parametrize("axis", range(3))
def test_a_slice_that_loses_signal_is_one_slice(axis: int) -> None:
    gains = np.ones(24)
    gains[10] = 0.5
    motion = Motion(np.tile(np.eye(3), (24, 1, 1)), np.zeros((24, 3)), gains)
    points, image = grid_points(24, 3.0), np.full((24, 24, 24), 0.6, np.float32)
    result = acquire(image, points, np.zeros_like(image), motion, axis, np.random.default_rng(0))
    assert result.min() >= 0 and result.max() == 1
    means = np.moveaxis(result, axis, 0).mean(axis=(1, 2))
    assert means.argmin() == 10
    assert means[10] == pytest.approx(0.5 * (means[9] + means[11]) / 2, rel=0.05)


def test_deeper_is_darker() -> None:
    motion = Motion(np.tile(np.eye(3), (32, 1, 1)), np.zeros((32, 3)), np.ones(32))
    points, image = grid_points(32, 10.0), np.full((32, 32, 32), 0.6, np.float32)
    ratios = []
    for seed in range(6):
        depth = points[1] - points[1].min()
        result = acquire(image, points, depth, motion, 1, np.random.default_rng(seed))
        ratios.append(result[:, -4:].mean() / result[:, :4].mean())
    assert np.mean(ratios) < 0.75
