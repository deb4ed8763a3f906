"""How large a fetus, its placenta and its fluid are at a gestational age: published means, in mm, g and mL.

Ages are weeks since the last menstrual period, in `WEEKS`. docs/phantom.md lists the sources and what they give.
"""

from __future__ import annotations

from math import exp, log

WEEKS = (24.0, 37.0)  # third trimester, and a little of the second: every formula below was fitted over these ages

AMNIOTIC_FLUID = 777.0  # mL, the same from 22 to 39 weeks: Brace and Wolf 1989

# Lengths over that of the femur, rounded, from the charts of Jeanty and Romero 1984 and Merz et al. 1987, which keep
# them within some percent from 24 to 37 weeks. The foot is as long as the femur: Campbell et al. 1988.
HUMERUS, FOREARM, SHANK, FOOT = 0.92, 0.85, 0.88, 1.0


def biparietal_diameter(weeks: float) -> float:
    """Width of the skull, outer to outer, in mm (INTERGROWTH-21st, Papageorghiou et al. 2014)."""
    return 5.60878 + 0.158369 * weeks**2 - 0.00256379 * weeks**3


def occipitofrontal_diameter(weeks: float) -> float:
    """Length of the skull, outer to outer, in mm (INTERGROWTH-21st)."""
    return -12.4097 + 0.626342 * weeks**2 - 0.148075 * weeks**2 * log(weeks)


def head_circumference(weeks: float) -> float:
    """Circumference of the skull in mm (INTERGROWTH-21st); the two diameters above give it within 1%."""
    return -28.2849 + 1.69267 * weeks**2 - 0.397485 * weeks**2 * log(weeks)


def abdominal_circumference(weeks: float) -> float:
    """Circumference of the abdomen in mm (INTERGROWTH-21st)."""
    return -81.3243 + 11.6772 * weeks - 0.000561865 * weeks**3


def femur_length(weeks: float) -> float:
    """Length of the femur's shaft in mm (INTERGROWTH-21st)."""
    return -39.9616 + 4.32298 * weeks - 0.0380156 * weeks**2


def eye_diameter(weeks: float) -> float:
    """Transverse diameter of an eyeball in mm: linear from 7.35 at 17 to 16.67 at 37 weeks (Paquette 2007, MRI)."""
    return 7.35 + (16.67 - 7.35) / 20 * (weeks - 17)


def interocular_distance(weeks: float) -> float:
    """Distance between the eyeballs in mm: linear from 9.95 at 17 to 17.44 at 37 weeks (Paquette 2007, MRI)."""
    return 9.95 + (17.44 - 9.95) / 20 * (weeks - 17)


def fetal_weight(weeks: float) -> float:
    """Weight of the fetus in g (Hadlock et al. 1991); a g is about a mL."""
    return exp(0.578 + 0.332 * weeks - 0.00354 * weeks**2)


def placental_volume(weeks: float) -> float:
    """Volume of the placenta in mL: linear through the medians 513 at 27 and 831 at 37 weeks (Peterson 2024, MRI)."""
    return 513 + (831 - 513) / 10 * (weeks - 27)


def placental_thickness(weeks: float) -> float:
    """Thickness of the placenta at its middle in mm: as many as the weeks (Hoddick et al. 1985), 1.5 less after 34."""
    return weeks - 1.5 * min(1.0, max(0.0, weeks - 34))
