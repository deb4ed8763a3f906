"""The phantom at full fidelity: a mother's uterus, its wall and her placenta.

An ellipsoid holds fetus, fluid and placenta. The placenta lies on a part of its inside, thick at its middle; what is
left is the cavity, the region ``uterus``. The two are disjoint exactly, whatever the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from conemos_bundle.phantom.geometry import Array, Waves, column, ellipsoid_distance, frame_around, into_frame, turn
from conemos_bundle.phantom.growth import AMNIOTIC_FLUID, WEEKS, fetal_weight, placental_thickness, placental_volume
from scipy.spatial.transform import Rotation

PLACENTA_GAP = 0.5  # mm between the cavity and the placenta: membranes
PROPORTIONS = (1.0, 0.92, 1.5)  # of the uterus: its width, depth and length
RIM = 4  # the placenta's thickness falls as sqrt(1 - reach**RIM): blunt, not a lens
WARP = 5.0  # mm: nobody is an ellipsoid


@dataclass(frozen=True)
class Pregnancy:
    """What all scans of one mother share; lengths in mm, angles in radians. The scanner's frame is RAS+."""

    weeks: float  # gestational age
    growth: float  # how much larger than the mean all lengths of this fetus are
    uterus_rotation: Array  # (3, 3): from the frame of the uterus (x width, y depth, z length) to the scanner's
    uterus_semi_axes: Array  # of the ellipsoid that holds fetus, fluid and placenta
    placenta_axis: Array  # unit vector in the frame of the uterus, towards the middle of the placenta
    placenta_angle: float  # from that axis to the rim
    placenta_thickness: float
    placenta_lobes: Array  # (2,) phases of the waviness of the rim
    wall_thickness: float
    warp: tuple[Waves, Waves, Waves]


def draw_pregnancy(rng: np.random.Generator) -> Pregnancy:
    """Draw a mother: gestational age, a uterus of the size that goes with it, and where the placenta lies."""
    weeks = rng.uniform(*WEEKS)
    growth = float(np.clip(rng.normal(1, 0.035), 0.93, 1.07))
    volume = placental_volume(weeks) * float(np.clip(rng.normal(1, 0.15), 0.7, 1.35))  # mL
    thickness = placental_thickness(weeks) * rng.uniform(0.85, 1.15)
    fluid = AMNIOTIC_FLUID * float(np.exp(np.clip(rng.normal(0, 0.25), -0.4, 0.5)))
    whole = fetal_weight(weeks) * growth**3 + fluid + volume
    proportions = np.array(PROPORTIONS) * rng.uniform(0.95, 1.05, 3)
    semi_axes = proportions * (whole * 1000 / (4 / 3 * np.pi * proportions.prod())) ** (1 / 3)
    axis = rng.normal(size=3) * (0.8, 1, 0.45)  # rather at the front or back than on a side or at an end
    tilts = rng.normal(0, (8, 10, 15))  # degrees: forwards, sideways, about its length (the uterus leans to the right)
    return Pregnancy(
        weeks=weeks,
        growth=growth,
        uterus_rotation=Rotation.from_euler("xyz", tilts, degrees=True).as_matrix(),
        uterus_semi_axes=semi_axes,
        placenta_axis=axis / np.linalg.norm(axis),
        placenta_angle=_angle_of_volume(volume, thickness, semi_axes),
        placenta_thickness=thickness,
        placenta_lobes=rng.uniform(0, 2 * np.pi, 2),
        wall_thickness=rng.uniform(5, 8),
        warp=(Waves.draw(rng, (140, 320)), Waves.draw(rng, (140, 320)), Waves.draw(rng, (140, 320))),
    )


def _angle_of_volume(volume: float, thickness: float, semi_axes: Array) -> float:
    """From the middle of a placenta of ``volume`` mL to its rim, as on a sphere as large as the uterus (radians)."""
    mean_thickness = thickness * np.pi / 4  # of sqrt(1 - reach**4) over a disc
    radius = float(np.prod(semi_axes)) ** (1 / 3)
    outer, inner = radius**3, (radius - mean_thickness) ** 3
    solid_angle = 3 * volume * 1000 / (outer - inner)  # steradians of a shell
    return float(np.arccos(1 - solid_angle / (2 * np.pi)))


def warped(points: Array, pregnancy: Pregnancy) -> Array:
    """``points`` (3, x, y, z) where the smooth anatomy of this mother has those of the scanner, both in mm."""
    return points + WARP * np.stack([wave(points) for wave in pregnancy.warp])


def uterus_distances(points: Array, pregnancy: Pregnancy) -> dict[str, Array]:
    """Signed distances in mm, negative inside, at ``points`` (3, x, y, z) in mm in the scanner's frame.

    Returns:
        arrays (x, y, z): ``uterus`` (the cavity), ``placenta``, and ``wall`` (wall, placenta and cavity together).
    """
    own = into_frame(warped(points, pregnancy), pregnancy.uterus_rotation, np.zeros(3))
    return distances_in_uterus(own, pregnancy)


def distances_in_uterus(points: Array, pregnancy: Pregnancy) -> dict[str, Array]:
    """As `uterus_distances`, at ``points`` in the frame of the uterus, unwarped."""
    whole = ellipsoid_distance(points, pregnancy.uterus_semi_axes)
    cavity = whole + _placenta_thickness(points, pregnancy)
    return {
        "uterus": cavity,
        "placenta": np.maximum(whole, PLACENTA_GAP - cavity),
        "wall": whole - pregnancy.wall_thickness,
    }


def _placenta_thickness(points: Array, pregnancy: Pregnancy) -> Array:
    """Thickness of the placenta in mm in the direction of ``points``; 0 beyond its rim."""
    scaled = points / column(pregnancy.uterus_semi_axes)
    across, along, out = turn(frame_around(pregnancy.placenta_axis), scaled)
    angle, azimuth = np.arctan2(np.hypot(across, along), out), np.arctan2(along, across)
    phases = pregnancy.placenta_lobes.tolist()
    lobes = 0.1 * np.cos(2 * azimuth + phases[0]) + 0.06 * np.cos(3 * azimuth + phases[1])
    reach = angle / (pregnancy.placenta_angle * (1 + lobes))
    return pregnancy.placenta_thickness * np.sqrt(np.clip(1 - reach**RIM, 0, 1))
