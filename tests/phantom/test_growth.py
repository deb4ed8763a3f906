from __future__ import annotations

import numpy as np
import pytest
from conemos_bundle.phantom import growth

ALL = [
    growth.biparietal_diameter,
    growth.occipitofrontal_diameter,
    growth.head_circumference,
    growth.abdominal_circumference,
    growth.femur_length,
    growth.eye_diameter,
    growth.interocular_distance,
    growth.fetal_weight,
    growth.placental_volume,
]


# INTERGROWTH-21st: worked out by hand from the published equations; Hadlock et al.: 35 g at 10 and 3,619 g at 40 weeks
# stand in their abstract; the others: the measurements that the straight lines go through
@pytest.mark.parametrize(
    ("function", "weeks", "value", "tolerance"),
    [
        (growth.head_circumference, 24, 219.1, 0.5),
        (growth.head_circumference, 30, 278.4, 0.5),
        (growth.abdominal_circumference, 30, 253.8, 0.5),
        (growth.biparietal_diameter, 30, 78.9, 0.5),
        (growth.femur_length, 30, 55.5, 0.5),
        (growth.femur_length, 36, 66.4, 0.5),
        (growth.eye_diameter, 17, 7.35, 1e-6),
        (growth.eye_diameter, 37, 16.67, 1e-6),
        (growth.interocular_distance, 37, 17.44, 1e-6),
        (growth.fetal_weight, 10, 35, 1),
        (growth.fetal_weight, 30, 1559, 1),
        (growth.fetal_weight, 40, 3619, 1),
        (growth.placental_volume, 27, 513, 1e-6),
        (growth.placental_volume, 37, 831, 1e-6),
        (growth.placental_thickness, 30, 30, 1e-6),
        (growth.placental_thickness, 36, 34.5, 1e-6),
    ],
)
def test_cited_values(function, weeks: float, value: float, tolerance: float) -> None:
    assert function(weeks) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("function", ALL)
def test_everything_grows(function) -> None:
    values = [function(weeks) for weeks in np.arange(growth.WEEKS[0], growth.WEEKS[1] + 0.1, 0.1)]
    assert (np.diff(values) > 0).all()


def test_the_placenta_gets_no_thinner_but_for_the_step_after_34_weeks() -> None:
    weeks = np.arange(24, 34.01, 0.1)
    assert (np.diff([growth.placental_thickness(w) for w in weeks]) > 0).all()
    assert growth.placental_thickness(37) > growth.placental_thickness(34)


def test_the_circumference_of_the_head_agrees_with_its_diameters() -> None:
    for weeks in np.linspace(*growth.WEEKS, 14):
        of_ellipse = np.pi * (growth.biparietal_diameter(weeks) + growth.occipitofrontal_diameter(weeks)) / 2
        assert growth.head_circumference(weeks) == pytest.approx(of_ellipse, rel=0.01)
