"""The phantom at full fidelity: a fetus that moves while its slices are acquired one after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from conemos_bundle.phantom.geometry import Array
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

STEP_DEGREES, STEP_MM = (0.02, 0.25), (0.01, 0.15)  # of the random walk from slice to slice, calm to restless
JERKS = 0.3  # how many times per scan, on average, the fetus moves at once
JERK_DEGREES, JERK_MM = 4.0, 2.0  # standard deviation
DROPS = 0.5  # how many slices per scan, on average, lose signal


@dataclass(frozen=True)
class Motion:
    """What differs from slice to slice (n of them, in order of place): how the fetus lies, and how bright it is."""

    rotations: Array  # (n, 3, 3), around the fetus's own origin; their mean is about none
    shifts: Array  # (n, 3) in mm; their mean is 0
    gains: Array  # (n,) of the signal


def acquisition_order(slices: int) -> NDArray[np.int_]:
    """Place of the slice acquired at each moment: 0, 2, 4, ... and then 1, 3, 5, ... (interleaved)."""
    return np.concatenate([np.arange(0, slices, 2), np.arange(1, slices, 2)])


def draw_motion(rng: np.random.Generator, slices: int) -> Motion:
    """Draw how the fetus wanders, now and then with a jerk, over ``slices`` slices, and which of them lose signal."""
    restless = rng.random() ** 2  # most are calm
    steps = rng.normal(size=(slices, 6))
    steps[:, :3] *= np.deg2rad(np.interp(restless, (0, 1), STEP_DEGREES))
    steps[:, 3:] *= np.interp(restless, (0, 1), STEP_MM)
    for moment in rng.integers(0, slices, rng.poisson(JERKS)):
        steps[moment] += rng.normal(0, [np.deg2rad(JERK_DEGREES)] * 3 + [JERK_MM] * 3)
    walk = np.cumsum(steps, axis=0)
    walk -= walk.mean(axis=0)
    order = acquisition_order(slices)
    in_place = np.empty_like(walk)
    in_place[order] = walk
    gains = 1 + rng.normal(0, 0.008, slices)
    gains[1::2] *= 1 + rng.normal(0, 0.015)  # spins of the second pass have recovered differently
    for place in rng.integers(0, slices, rng.poisson(DROPS)):
        gains[place] *= rng.uniform(0.5, 0.9)
    return Motion(Rotation.from_rotvec(in_place[:, :3]).as_matrix(), in_place[:, 3:], gains)


def moved(points: Array, motion: Motion, axis: int, first: int = 0) -> Array:
    """Where, in the frame of a fetus at rest, each point lies as the fetus moves from slice to slice.

    Args:
        points: (3, x, y, z) in mm, in the frame of the fetus at rest.
        motion: of all slices of the scan.
        axis: 0, 1 or 2, along which slices follow each other.
        first: number of the first of these slices in the scan.

    Returns:
        (3, x, y, z) in mm.
    """
    slices = np.moveaxis(points, 1 + axis, 1)
    here = slice(first, first + slices.shape[1])
    relative = slices - motion.shifts[here].T[:, :, None, None].astype(points.dtype)
    turned = np.einsum("sji,jsab->isab", motion.rotations[here].astype(points.dtype), relative)
    return np.moveaxis(turned, 1, 1 + axis)
