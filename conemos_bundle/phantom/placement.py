"""The phantom at full fidelity: where a fetus has room in the uterus, and how its umbilical cord runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from conemos_bundle.phantom.fetus import CHANCES, Pose, Size, pose_of, size_at, spheres
from conemos_bundle.phantom.geometry import Array, chain, turn
from conemos_bundle.phantom.growth import WEEKS
from conemos_bundle.phantom.pregnancy import Pregnancy, uterus_distances
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

CANDIDATES, KEPT, ROUNDS = 80, 14, 60  # of the search for a pose that fits
RESTARTS, HEAD_FITS = 4, 3.0  # searches at most; mm that the head may reach beyond the wall without another
TIGHT = 2.0  # mm that skin may lie beyond the wall of the cavity: it is soft, and is cut there
CEPHALIC = (0.6, 0.95)  # probability of lying head down at 24 and 37 weeks (Hill et al. 1990 and others: rounded)
CORD_RADIUS = 6.0  # mm


@dataclass(frozen=True)
class Fetus:
    """A pose, and where it lies in the frame of the uterus; lengths in mm."""

    pose: Pose
    center: Array  # the origin of its frame
    rotation: Array  # (3, 3): from its frame to that of the uterus
    cord: Array  # (n, 2, 4): segments of the umbilical cord, x, y, z, radius, in the frame of the uterus


def draw_fetus(rng: np.random.Generator, pregnancy: Pregnancy) -> Fetus:
    """Draw a fetus of the mother's gestational age, in a pose and orientation that the cavity has room for.

    Poses and orientations are drawn at random; while none fits, the best are kept and varied a little, as a fetus gives
    way to the wall. Older fetuses end up along the uterus, flexed; younger ones in any way.
    """
    size = size_at(pregnancy.weeks, pregnancy.growth)
    tries = []
    for _ in range(RESTARTS):
        head_down = bool(rng.random() < np.interp(pregnancy.weeks, WEEKS, CEPHALIC))
        tries.append(_search(rng, pregnancy, size, head_down))
        if tries[-1][0] <= HEAD_FITS:
            break
    _, pose, center, rotation = min(tries, key=lambda found: found[0])
    return Fetus(pose, center, rotation, _draw_cord(rng, pregnancy, pose, center, rotation))


def _search(
    rng: np.random.Generator, pregnancy: Pregnancy, size: Size, head_down: bool
) -> tuple[float, Pose, Array, Array]:
    """How many mm the head reaches beyond the cavity, pose, center and rotation of the best that a search finds."""
    chances = rng.random((CANDIDATES, CHANCES))
    rotations = Rotation.random(CANDIDATES, rng=rng)
    centers: Array = rng.normal(0, 5, (CANDIDATES, 3))
    for step in np.linspace(1.0, 0.3, ROUNDS):
        poses = [pose_of(size, numbers) for numbers in chances]
        parts = np.stack([spheres(pose) for pose in poses])
        matrices = rotations.as_matrix()
        centers = _pushed(pregnancy, parts, matrices, centers)
        beyond = _beyond(pregnancy, parts, matrices, centers)
        stiffness = np.r_[np.ones(beyond.shape[1] - 3), 20, 20, 20]  # of the head, whose spheres come last
        wrong_way = (matrices[:, 2, 2] < 0) != head_down  # z of the uterus points to the mother's head
        cost = (stiffness * np.square(np.maximum(beyond, 0))).sum(axis=1) + 1e4 * wrong_way
        order = np.argsort(cost)
        best = int(order[0])
        if beyond[best].max() <= TIGHT and not wrong_way[best]:
            break
        parents = np.resize(order[:KEPT], CANDIDATES)
        changes = np.full((CANDIDATES, 1), step)
        changes[:KEPT] = 0  # the parents themselves
        chances = np.clip(chances[parents] + 0.15 * changes * rng.normal(size=chances.shape), 0, 1)
        rotations = Rotation.from_rotvec(0.2 * changes * rng.normal(size=(CANDIDATES, 3))) * rotations[parents]
        centers = centers[parents] + 4 * changes * rng.normal(size=centers.shape)

    return float(beyond[best, -3:].max()), poses[best], centers[best], matrices[best]


def _pushed(pregnancy: Pregnancy, parts: Array, rotations: Array, centers: Array) -> Array:
    """``centers`` (r, 3) of the fetuses pushed away from where they reach farthest beyond the wall."""
    for _ in range(4):
        beyond = _beyond(pregnancy, parts, rotations, centers)
        rows = np.arange(len(parts))
        worst = np.einsum("rij,rj->ri", rotations, parts[rows, beyond.argmax(axis=1), :3]) + centers
        normal = worst / pregnancy.uterus_semi_axes**2
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        centers = centers - 0.4 * np.clip(beyond.max(axis=1), 0, 10)[:, None] * normal
    return centers


def _beyond(pregnancy: Pregnancy, parts: Array, rotations: Array, centers: Array) -> Array:
    """How many mm each sphere of ``parts`` (r, s, 4) reaches beyond the cavity: (r, s)."""
    places = np.einsum("rij,rsj->irs", rotations, parts[..., :3]) + centers.T[:, :, None]
    points = turn(pregnancy.uterus_rotation, places[..., None].astype(np.float32))
    cavity = uterus_distances(points, pregnancy)["uterus"][..., 0]
    return cavity + parts[..., 3]


def _draw_cord(rng: np.random.Generator, pregnancy: Pregnancy, pose: Pose, center: Array, rotation: Array) -> Array:
    """A winding curve from the navel to the middle of the placenta."""
    navel = center + rotation @ (0, 0.95 * pose.size.trunk, 0)
    away = center + rotation @ (0, 1.5 * pose.size.trunk, 0)
    placenta = pregnancy.placenta_axis * pregnancy.uterus_semi_axes * 0.8
    loops = pregnancy.uterus_semi_axes * rng.uniform(-0.75, 0.75, (2, 3))
    curve = CubicSpline(range(5), [navel, away, *loops, placenta])(np.linspace(0, 4, 17))
    return np.array(chain(list(curve), [CORD_RADIUS] * len(curve)))
