"""The anatomy of the small phantom: a mother's uterus and placenta, a fetus in some pose, the masks of five regions.

Every structure is a signed distance in mm (negative inside), evaluated at points in mm, so that the same scan can be
drawn on any grid. Being inside another structure, or apart from it, is the maximum of two distances: the masks are then
nested or disjoint exactly, whatever the grid. Sizes are stylized: a compact fetus with large eyes, so that 48 voxels a
side hold all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from conemos_bundle.phantom.geometry import (
    Array,
    Waves,
    chain,
    column,
    direction,
    directions,
    ellipsoid_distance,
    frame_around,
    into_frame,
    segment_distance,
    smooth_union,
    turn,
)
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

REGIONS = ("uterus", "body", "brain", "eyes", "placenta")  # outer first; placenta is disjoint from uterus
PLACENTA_GAP = 1.0  # mm between the amniotic cavity and the placenta
PLACENTA_THICKNESS = (16.0, 22.0)  # mm, thinnest and thickest at the middle
WALL_THICKNESS = 5.0  # mm
ROOM = 2.0  # mm that the fetus keeps from the uterine wall

# The fetus lies in a frame of its own (mm, before scaling): x to its right, y to its front, z to its head.
HEAD_SEMI_AXES = (28.0, 34.0, 29.0)
EYES = ((-14.5, 20.0, -8.0), (14.5, 20.0, -8.0))
EYE_RADIUS = 11.0
EYELID, SKULL, ORBIT = 2.0, 3.0, 1.5  # mm around the eyes, around the brain, between brain and eyes


@dataclass(frozen=True)
class Mother:
    """What all scans of one mother share; lengths in mm, angles in radians."""

    scale: float  # gestational age: the size of fetus and uterus
    uterus_center: Array
    uterus_rotation: Array  # (3, 3): from the frame of the uterus, z its long axis, to the scanner's
    uterus_semi_axes: Array
    placenta_axis: Array  # unit vector in the frame of the uterus, towards the middle of the placenta
    placenta_angle: float  # from that axis to the rim
    placenta_thickness: float
    placenta_lobes: Array  # (2,) phases of the waviness of the rim
    warp: tuple[Waves, Waves, Waves]  # nobody is an ellipsoid
    blob_centers: Array  # (n, 3) the mother's other organs
    blob_semi_axes: Array  # (n, 3)
    blob_brightness: Array  # (n,)


@dataclass(frozen=True)
class Fetus:
    """A fetus in a pose. Its parts are in its own frame, in mm before scaling."""

    scale: float
    center: Array  # where the origin of its frame lies in the frame of the uterus, mm
    rotation: Array  # (3, 3): from its frame to that of the uterus
    head_center: Array
    head_rotation: Array  # (3, 3): from the frame of the head to that of the fetus
    bones: Array  # (n, 2, 4): start and end of trunk and limb segments, each x, y, z, radius


def draw_mother(rng: np.random.Generator) -> Mother:
    """Draw a mother: her uterus in any orientation, placenta, organs around them, and how large the fetus is."""
    scale = rng.uniform(0.93, 1.05)
    axis = rng.normal(size=3) * (1, 1, 0.5)  # rather on a side than at an end
    blobs = 16
    return Mother(
        scale=scale,
        uterus_center=rng.uniform(-4, 4, 3),
        uterus_rotation=Rotation.random(rng=rng).as_matrix(),
        uterus_semi_axes=scale * np.array([58, 61, 71]) * rng.uniform(0.97, 1.03, 3),
        placenta_axis=axis / np.linalg.norm(axis),
        placenta_angle=rng.uniform(0.75, 1.05),
        placenta_thickness=rng.uniform(*PLACENTA_THICKNESS),
        placenta_lobes=rng.uniform(0, 2 * np.pi, 2),
        warp=(Waves.draw(rng, (100, 200)), Waves.draw(rng, (100, 200)), Waves.draw(rng, (100, 200))),
        blob_centers=directions(rng, blobs) * rng.uniform(75, 130, (blobs, 1)),
        blob_semi_axes=rng.uniform(8, 28, (blobs, 3)),
        blob_brightness=rng.uniform(0.1, 0.6, blobs),
    )


def draw_fetus(rng: np.random.Generator, mother: Mother) -> Fetus:
    """Draw a fetus that has room in the uterus of ``mother``: rather along it, either way up; random head and limbs."""
    fits: list[tuple[float, Fetus]] = []
    while len(fits) < 10 and (not fits or fits[-1][0] > 1):
        fits.append(_place(rng, mother, *_draw_pose(rng)))
    return min(fits, key=lambda fit: fit[0])[1]


def _draw_pose(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Draw the center and rotation of the head, and the bones, as `Fetus` holds them."""
    head_rotation = Rotation.from_euler("zxy", rng.uniform((-35, -45, -15), (35, -5, 15)), degrees=True).as_matrix()
    head_center = np.array([0, 15, 38]) + rng.uniform(-3, 3, 3)
    pelvis = np.array([rng.uniform(-5, 5), rng.uniform(10, 22), -36])
    bones = [*chain([(0, 2, 4), (0, 0, -16), pelvis], [24, 26, 22]), *chain([(0, 0, 14), head_center], [16, 17])]
    for side in (-1, 1):
        shoulder, hip = np.array([side * 22, 0, 10]), pelvis + np.array([side * 11, 4, -4])
        flexion = rng.uniform(10, 80)
        elbow = shoulder + 23 * direction(flexion, side * rng.uniform(0, 35))
        wrist = elbow + 20 * direction(flexion + rng.uniform(50, 130), -side * rng.uniform(0, 40))
        bones += chain([shoulder, elbow, wrist], [8.5, 7, 6.5])
        flexion = rng.uniform(95, 150)
        knee = hip + 26 * direction(flexion, side * rng.uniform(0, 30))
        knee_bend = rng.uniform(115, 160)
        ankle = knee + 24 * direction(flexion - knee_bend, side * rng.uniform(-30, 10))
        toes = ankle + 8 * direction(flexion - knee_bend + 60, 0)
        bones += chain([hip, knee, ankle, toes], [12, 9, 7, 5.5])
    return head_center, head_rotation, np.array(bones)


def _place(
    rng: np.random.Generator, mother: Mother, head_center: Array, head_rotation: Array, bones: Array
) -> tuple[float, Fetus]:
    """Place a pose at the first of many random rotations that fits into the uterus, or at the one that fits best.

    Returns:
        how well it fits (1 or less: it does), and the fetus.
    """
    spheres = np.concatenate([bones.reshape(-1, 4), [[*head_center, np.mean(HEAD_SEMI_AXES)]]]) * mother.scale
    rotations = Rotation.random(200, rng=rng).as_matrix()
    centers = np.einsum("rij,sj->rsi", rotations, spheres[:, :3])
    centers -= (centers.min(axis=1, keepdims=True) + centers.max(axis=1, keepdims=True)) / 2
    room = mother.uterus_semi_axes - spheres[:, 3:] - ROOM  # (spheres, 3): semi-axes of where each center may lie
    for _ in range(30):  # away from where the wall is nearest
        nearest = np.linalg.norm(centers / room, axis=2).argmax(axis=1)[:, None, None]
        centers -= 0.05 * np.take_along_axis(centers, nearest, axis=1)
    levels = np.linalg.norm(centers / room, axis=2).max(axis=1)
    chosen = np.argmax(levels <= max(1.0, levels.min()))
    center = centers[chosen, 0] - rotations[chosen] @ spheres[0, :3]
    return levels[chosen], Fetus(mother.scale, center, rotations[chosen], head_center, head_rotation, bones)


def signed_distances(points: Array, mother: Mother, fetus: Fetus) -> dict[str, Array]:
    """Signed distances in mm, negative inside, of the five regions and of the tissues that only the image shows.

    Args:
        points: (3, x, y, z) in mm, scanner frame.
        mother: the mother.
        fetus: the fetus.

    Returns:
        arrays (x, y, z) for `REGIONS` and ``abdomen``, ``wall``, ``fluid around the brain``, ``lungs``, ``liver``,
        ``stomach and bladder``.
    """
    points = points + 2.5 * np.stack([wave(points) for wave in mother.warp])
    uterus_points = into_frame(points, mother.uterus_rotation, mother.uterus_center)
    uterus = ellipsoid_distance(uterus_points, mother.uterus_semi_axes)
    placenta = _placenta_distance(uterus_points, uterus, mother)
    scale = fetus.scale
    own = into_frame(uterus_points, fetus.rotation, fetus.center) / scale
    head = into_frame(own, fetus.head_rotation, fetus.head_center)
    eyes = np.minimum(*(ellipsoid_distance(head, (EYE_RADIUS,) * 3, eye) for eye in EYES))
    skull, face = ellipsoid_distance(head, HEAD_SEMI_AXES), ellipsoid_distance(head, (15, 14, 13), (0, 18, -17))
    body = smooth_union(smooth_union(skull, face, 8), eyes - EYELID, 3)
    for start, end in fetus.bones:
        body = smooth_union(body, segment_distance(own, start, end), 5)
    cerebrum, cerebellum = ((23, 25, 20), (0, -6, 5)), ((14, 10, 9), (0, -17, -11))
    brain = smooth_union(ellipsoid_distance(head, *cerebrum), ellipsoid_distance(head, *cerebellum), 4)
    lungs = np.minimum(*(ellipsoid_distance(own, (8, 12, 13), (side * 11, 2, 1)) for side in (-1, 1)))
    liver = ellipsoid_distance(own, (17, 13, 9), (2, 7, -20))
    stomach, bladder = (ellipsoid_distance(own, (6, 6, 6), center) for center in ((-11, 0, -20), (0, 16, -42)))

    # inside: the maximum with the outer distance; the margins keep what is inner strictly so
    body = np.maximum(body * scale, uterus + ROOM / 2)
    eyes = np.maximum(eyes * scale, body + EYELID / 2)
    brain = np.maximum.reduce([brain * scale, body + SKULL, ORBIT - eyes])
    return {
        "uterus": uterus,
        "body": body,
        "brain": brain,
        "eyes": eyes,
        "placenta": placenta,
        "abdomen": ellipsoid_distance(points, (150, 115, 280)),
        "wall": smooth_union(uterus, placenta, 8) - WALL_THICKNESS,
        "fluid around the brain": np.maximum(brain - SKULL, body + SKULL),
        "lungs": np.maximum(lungs * scale, body + SKULL),
        "liver": np.maximum(liver * scale, body + SKULL),
        "stomach and bladder": np.maximum(np.minimum(stomach, bladder) * scale, body + SKULL),
    }


def region_masks(distances: dict[str, Array]) -> dict[str, NDArray[np.bool_]]:
    """The mask of each of `REGIONS`: where its signed distance is negative."""
    return {region: distances[region] < 0 for region in REGIONS}


def _placenta_distance(uterus_points: Array, uterus: Array, mother: Mother) -> Array:
    """A curved lens on the cavity: from a small gap outwards, thick at its middle, thin at a wavy rim."""
    across, along, out = turn(frame_around(mother.placenta_axis), uterus_points / column(mother.uterus_semi_axes))
    angle, azimuth = np.arctan2(np.hypot(across, along), out), np.arctan2(along, across)
    phases = mother.placenta_lobes.tolist()
    lobes = 0.14 * np.cos(2 * azimuth + phases[0]) + 0.08 * np.cos(3 * azimuth + phases[1])
    reach = angle / (mother.placenta_angle * (1 + lobes))
    thickness = mother.placenta_thickness * np.sqrt(np.clip(1 - reach**2, 0, 1))
    return np.maximum(PLACENTA_GAP - uterus, uterus - PLACENTA_GAP - thickness)
