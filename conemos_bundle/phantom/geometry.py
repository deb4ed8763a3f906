"""What both phantoms are drawn with: signed distances (mm, negative inside) of simple shapes, and random waves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Triple = tuple[float, float, float] | Array


@dataclass(frozen=True)
class Waves:
    """A smooth random function of space: a sum of plane waves, ``wave_vectors`` (n, 3) in rad/mm, ``phases`` (n,)."""

    wave_vectors: Array
    phases: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelengths: tuple[float, float], count: int = 6) -> Waves:
        """Draw ``count`` waves of random directions and of ``wavelengths`` (shortest, longest) in mm."""
        wave_numbers = 2 * np.pi / rng.uniform(*wavelengths, size=(count, 1))
        return cls(directions(rng, count) * wave_numbers, rng.uniform(0, 2 * np.pi, count))

    def __call__(self, points: Array) -> Array:
        """The function at ``points`` (3, x, y, z) in mm: mean 0, standard deviation about 1."""
        waves = np.sin(turn(self.wave_vectors, points) + self.phases.astype(points.dtype)[:, None, None, None])
        return waves.sum(axis=0) * (2 / len(self.phases)) ** 0.5


def grid_points(size: int, spacing: float) -> Array:
    """The voxel centers of a cube of ``size`` voxels per side around the origin: (3, size, size, size), in mm."""
    axis = ((np.arange(size) - (size - 1) / 2) * spacing).astype(np.float32)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))


def ellipsoid_distance(points: Array, semi_axes: Triple, center: Triple = (0, 0, 0)) -> Array:
    """First-order signed distance in mm, at ``points`` (3, x, y, z), to an ellipsoid; exact for a sphere."""
    scaled = (points - column(center)) / column(semi_axes)
    level, slope = np.linalg.norm(scaled, axis=0), np.linalg.norm(scaled / column(semi_axes), axis=0)
    # level / slope is the local size, between the shortest and longest semi-axis; at the center, 0 / 0, the shortest
    return (level - 1) * (level + 1e-6) / (slope + 1e-6 / float(np.min(semi_axes)))


def segment_distance(points: Array, start: Array, end: Array) -> Array:
    """Signed distance in mm to a segment from ``start`` to ``end``, each x, y, z and radius, tapering linearly."""
    relative, axis, taper = points - column(start[:3]), end[:3] - start[:3], float(end[3] - start[3])
    along = np.clip(turn(axis / (axis @ axis), relative), 0, 1)
    return np.linalg.norm(relative - along * column(axis), axis=0) - (float(start[3]) + along * taper)


def smooth_union(first: Array, second: Array, blend: float) -> Array:
    """The union of two signed distances, rounded where they meet within ``blend`` mm (polynomial smooth minimum)."""
    return np.minimum(first, second) - np.maximum(blend - np.abs(first - second), 0) ** 2 / (4 * blend)


def frame_around(axis: Array) -> Array:
    """Rows: two unit vectors across ``axis``, then ``axis`` itself."""
    across = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(axis, across), axis])


def directions(rng: np.random.Generator, count: int) -> Array:
    """Draw unit vectors (count, 3)."""
    vectors = rng.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def column(vector: Triple) -> Array:
    """``vector`` (3,) as (3, 1, 1, 1), to go with points (3, x, y, z)."""
    return np.asarray(vector, np.float32).reshape(3, 1, 1, 1)


def turn(matrix: Array, points: Array) -> Array:
    """``matrix`` (..., 3) times each of ``points`` (3, x, y, z)."""
    return np.tensordot(matrix.astype(points.dtype), points, 1)


def into_frame(points: Array, rotation: Array, center: Array) -> Array:
    """``points`` (3, x, y, z) in the frame that ``rotation`` and ``center`` place into theirs."""
    return turn(rotation.T, points - column(center))


def direction(flexion: float, outwards: float) -> Array:
    """Downwards (-z), turned by ``flexion`` degrees to the front and by ``outwards`` degrees to the +x side."""
    flexion, outwards = np.deg2rad(flexion), np.deg2rad(outwards)
    return np.array([np.sin(outwards), np.sin(flexion) * np.cos(outwards), -np.cos(flexion) * np.cos(outwards)])


def chain(joints: Sequence[Array | tuple[float, float, float]], radii: list[float]) -> list[Array]:
    """The (2, 4) segments between neighboring joints."""
    ends = [np.array([*joint, radius], float) for joint, radius in zip(joints, radii, strict=True)]
    return [np.stack(pair) for pair in pairwise(ends)]
