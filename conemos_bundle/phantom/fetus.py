"""The phantom at full fidelity: a fetus of some age in some pose, in a frame of its own, in mm.

x points to its right, y to its front, z to its head; the origin is the middle of its belly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from conemos_bundle.phantom import growth
from conemos_bundle.phantom.geometry import (
    Array,
    Triple,
    chain,
    direction,
    ellipsoid_distance,
    into_frame,
    segment_distance,
    smooth_union,
)
from scipy.spatial.transform import Rotation

SCALP = 3.0  # mm outside the skull
SKULL = 2.0  # mm
CHANCES = 29  # how many angles a pose has
CORTEX = 3.0  # mm
EYELID, ORBIT = 1.0, 1.0  # mm in front of the eyes, between eyes and brain
TRUNK = 3.2  # femora from the neck to the seat: head and trunk are then two thirds of the whole length


@dataclass(frozen=True)
class Size:
    """The measures of a fetus in mm, as `growth` gives them, times its own factor."""

    skull: Array  # (3,) semi-axes: half of the biparietal and occipitofrontal diameters and of the height
    fluid: float  # between skull and brain
    eye_radius: float
    eye_centers: Array  # (2, 3) in the frame of the head
    trunk: float  # radius of the belly
    femur: float


@dataclass(frozen=True)
class Pose:
    """A fetus in its own frame: spheres are x, y, z, radius in mm."""

    size: Size
    head_center: Array
    head_rotation: Array  # (3, 3): from the frame of the head to that of the fetus
    trunk: Array  # (3, 4) spheres: chest, belly, pelvis
    bones: Array  # (n, 2, 4): start and end of neck and limb segments


def size_at(weeks: float, factor: float) -> Size:
    """The measures of a fetus of ``weeks`` that is ``factor`` times as large as the mean."""
    width, length = growth.biparietal_diameter(weeks), growth.occipitofrontal_diameter(weeks)
    skull = factor * np.array([width, length, 1.04 * width]) / 2
    radius = factor * growth.eye_diameter(weeks) / 2
    aside = factor * growth.interocular_distance(weeks) / 2 + radius
    return Size(
        skull=skull,
        fluid=float(np.interp(weeks, growth.WEEKS, (4.0, 3.0))),
        eye_radius=radius,
        eye_centers=np.array([(side * aside, 0.70 * skull[1], -0.42 * skull[2]) for side in (-1, 1)]),
        trunk=factor * growth.abdominal_circumference(weeks) / (2 * np.pi),
        femur=factor * growth.femur_length(weeks),
    )


def pose_of(size: Size, chances: Array) -> Pose:
    """The pose that numbers from 0 to 1 choose: a flexed trunk, a head that nods and turns, flexed arms and legs.

    Args:
        size: the measures of the fetus.
        chances: (`CHANCES`,), each between the ends of the range of one angle.
    """
    at = iter(chances.tolist())
    trunk, femur = size.trunk, size.femur

    def between(low: float, high: float, power: float = 1.0) -> float:
        return low + (high - low) * next(at) ** power  # a power below 1: rather high

    reach = 0.3 * TRUNK * femur  # from the belly to chest and pelvis
    aside, bend, curl = between(-8, 8), between(5, 35), between(15, 60)
    chest = reach * -direction(-bend, aside)  # towards the head, bent forwards
    pelvis = reach * direction(curl, between(-8, 8))
    nod = bend + between(5, 45)
    head_center = chest - (0.8 * trunk + 1.1 * size.skull[2]) * direction(-nod, aside + between(-12, 12))
    turns = (between(-50, 50), -nod + between(-25, 5), between(-15, 15))
    spheres = [np.array([*chest, 0.93 * trunk]), np.array([0, 0, 0, trunk]), np.array([*pelvis, 0.88 * trunk])]
    neck = chest - 0.5 * trunk * direction(-bend, aside)
    nape = head_center - np.array([0, 0.15 * size.skull[1], 0])
    bones = chain([neck, nape], [0.55 * trunk, 0.6 * size.skull[0]])
    for side in (-1, 1):
        shoulder = chest + np.array([side * 0.78, 0, 0.32]) * trunk
        flexion, outwards = between(0, 110), side * between(0, 40)
        elbow = shoulder + growth.HUMERUS * femur * direction(flexion, outwards)
        flexion, outwards = flexion + between(20, 140), -side * between(-10, 50)
        wrist = elbow + growth.FOREARM * femur * direction(flexion, outwards)
        knuckles = wrist + 0.45 * femur * direction(flexion + between(-30, 60), outwards)  # a hand half closed
        bones += chain([shoulder, elbow, wrist, knuckles], [0.28 * femur, 0.23 * femur, 0.16 * femur, 0.13 * femur])

        hip = pelvis + np.array([side * 0.4, 0.1, -0.2]) * trunk
        flexion = curl + between(20, 120, 0.4)
        knee = hip + 1.1 * femur * direction(flexion, side * between(-5, 35))
        bend = between(10, 155, 0.4)
        shin = direction(flexion - bend, side * between(-35, 10))
        ankle, heel = knee + growth.SHANK * femur * shin, knee + (growth.SHANK + 0.1) * femur * shin
        toes = ankle + 0.8 * growth.FOOT * femur * direction(flexion - bend + between(60, 100), side * 10)
        radii = [0.41 * femur, 0.28 * femur, 0.17 * femur, 0.15 * femur, 0.11 * femur]
        bones += chain([hip, knee, ankle, heel, toes], radii)
    rotation = Rotation.from_euler("zxy", turns, degrees=True).as_matrix()
    return Pose(size, head_center, rotation, np.array(spheres), np.array(bones))


def spheres(pose: Pose) -> Array:
    """Spheres (n, 4) that the fetus is about the union of, in its own frame: for finding where it has room."""
    along = pose.head_rotation @ (0, pose.size.skull[1] - pose.size.skull[0], 0)
    head = [[*(pose.head_center + sign * along), pose.size.skull[0] + SCALP] for sign in (-1, 0, 1)]
    return np.concatenate([pose.trunk, pose.bones.reshape(-1, 4), head])


def fetus_distances(points: Array, pose: Pose) -> dict[str, Array]:
    """Signed distances in mm, negative inside, of what the fetus consists of.

    Args:
        points: (3, x, y, z) in mm, in the frame of the fetus.
        pose: the fetus.

    Returns:
        arrays (x, y, z): ``body``, ``brain``, ``eyes``, and the tissues that only the image shows.
    """
    head = into_frame(points, pose.head_rotation, pose.head_center)
    skull = ellipsoid_distance(head, pose.size.skull)
    body = _skin(points, head, pose)
    eyes = np.minimum(*(ellipsoid_distance(head, (pose.size.eye_radius,) * 3, c) for c in pose.size.eye_centers))
    eyes = np.maximum(eyes, body + EYELID)
    brain = np.maximum.reduce([_brain(head, pose.size), skull + SKULL + pose.size.fluid, ORBIT - eyes, body + SCALP])
    around = 1.3 * pose.size.fluid  # below the brain is the base of the skull, not fluid
    fissure = np.maximum(np.abs(head[0]) - 1.2, -head[2])
    tissues = {
        "skull": np.maximum(skull, body + SCALP),
        "fluid around the brain": np.maximum.reduce([skull + SKULL, brain - around, body + SCALP, ORBIT - eyes]),
        "white matter": brain + CORTEX,
        "fissure": np.maximum(fissure, brain),
        "ventricles": np.maximum(_ventricles(head, pose.size), brain + 3),
        **{name: np.maximum(distance, body + SCALP) for name, distance in _organs(points, pose).items()},
    }
    return {"body": body, "brain": brain, "eyes": eyes} | tissues


def _skin(points: Array, head: Array, pose: Pose) -> Array:
    """The body: skull and scalp, face, neck, trunk and limbs, with rounded joints."""
    a, b, c = pose.size.skull.tolist()
    skin = ellipsoid_distance(head, pose.size.skull + SCALP)
    skin = smooth_union(skin, ellipsoid_distance(head, (0.62 * a, 0.5 * b, 0.6 * c), (0, 0.5 * b, -0.58 * c)), 8)
    skin = smooth_union(skin, ellipsoid_distance(head, (0.1 * a,) * 3, (0, 1.02 * b, -0.5 * c)), 4)  # nose
    for start, end in zip(pose.trunk[:-1], pose.trunk[1:], strict=True):
        skin = smooth_union(skin, segment_distance(points, start, end), 6)
    for start, end in pose.bones:
        skin = smooth_union(skin, segment_distance(points, start, end), 4)
    return skin


def _brain(head: Array, size: Size) -> Array:
    """Cerebrum, cerebellum and brain stem, in the frame of the head."""
    a, b, c = size.skull.tolist()
    cerebrum = ellipsoid_distance(head, (a, b, 0.82 * c), (0, 0, 0.16 * c))
    cerebellum = ellipsoid_distance(head, (0.55 * a, 0.34 * b, 0.32 * c), (0, -0.42 * b, -0.45 * c))
    stem = segment_distance(head, np.array([0, -0.1 * b, -0.3 * c, 0.18 * a]), np.array([0, -0.25 * b, -c, 0.12 * a]))
    return smooth_union(smooth_union(cerebrum, cerebellum, 3), stem, 3)


def _ventricles(head: Array, size: Size) -> Array:
    """The two lateral ventricles: arches beside the midline, wider at the back."""
    a, b, c = size.skull.tolist()
    halves = []
    for side in (-1, 1):
        front, middle, back = (0.12, 0.3, 0.2), (0.2, -0.1, 0.3), (0.34, -0.45, 0.1)
        joints = [np.array([side * x * a, y * b, z * c]) for x, y, z in (front, middle, back)]
        first, second = chain(joints, [2.0, 2.5, 4.0])
        halves.append(np.minimum(segment_distance(head, *first), segment_distance(head, *second)))
    return np.minimum(*halves)


def _organs(points: Array, pose: Pose) -> dict[str, Array]:
    """Organs of chest and belly, unclipped."""
    r = pose.size.trunk
    chest, belly, pelvis = pose.trunk[:, :3]

    def organ(middle: Array, offset: Triple, semi_axes: Triple) -> Array:
        return ellipsoid_distance(points, r * np.array(semi_axes), middle + r * np.array(offset))

    back = [np.array([*(sphere[:3] - (0, 0.72 * sphere[3], 0)), 0.1 * r]) for sphere in pose.trunk]
    spine = np.minimum(segment_distance(points, back[0], back[1]), segment_distance(points, back[1], back[2]))
    return {
        "spine": spine,
        "lungs": np.minimum(*(organ(chest, (side * 0.42, 0, 0), (0.3, 0.5, 0.5)) for side in (-1, 1))),
        "heart": organ(chest, (-0.12, 0.28, -0.1), (0.3, 0.3, 0.3)),
        "liver": organ(0.4 * chest, (0.12, 0.15, 0), (0.68, 0.6, 0.42)),
        "kidneys": np.minimum(*(organ(belly, (side * 0.42, -0.42, -0.1), (0.17, 0.17, 0.27)) for side in (-1, 1))),
        "stomach and bladder": np.minimum(
            organ(0.4 * chest, (-0.5, -0.1, -0.15), (0.2, 0.2, 0.24)), organ(pelvis, (0, 0.25, 0.05), (0.2, 0.2, 0.22))
        ),
    }
