from __future__ import annotations

from itertools import pairwise

import pytest
from conemos_bundle.data.datalist import Datalist, Scan
from conemos_bundle.data.fraction import keep_fraction
from conemos_bundle.errors import UserError


def datalist(**scans: int) -> Datalist:
    """So many training scans annotated for each of ``a``, ``b`` or ``ab``."""
    training = [
        Scan(image=f"{regions}_{i}.nii", subject=f"{regions}_{i}", masks=dict.fromkeys(regions, "mask.nii"))
        for regions, number in scans.items()
        for i in range(number)
    ]
    test = [Scan(image="t.nii", subject="t", masks={"a": "mask.nii"})]
    return Datalist(regions=["a", "b"], training=training, validation=[], test=test * 3)


def kept(data: Datalist, *arguments: float) -> list[str]:
    return [scan.subject for scan in keep_fraction(data, *arguments).training]


def test_all_scans_stay_as_they_are() -> None:
    data = datalist(a=3, b=2)
    assert keep_fraction(data, 1) is data


@pytest.mark.parametrize(("fraction", "a", "b", "ab"), [(0.5, 20, 5, 2), (0.25, 10, 2, 1)])
def test_groups_of_scans_are_thinned_alike(fraction: float, a: int, b: int, ab: int) -> None:
    data = datalist(a=40, b=10, ab=4)
    thinned = keep_fraction(data, fraction)
    counts = [[scan.subject.split("_")[0] for scan in thinned.training].count(group) for group in ("a", "b", "ab")]
    assert sum(counts) == round(fraction * 54)
    assert counts == pytest.approx([a, b, ab], abs=1)
    assert (thinned.validation, thinned.test) == (data.validation, data.test)


def test_a_smaller_fraction_is_part_of_a_larger_one() -> None:
    data = datalist(a=40)
    many = datalist(**{"a": 3, "b": 3, "ab": 3})
    for seed in range(5):
        assert set(kept(data, 0.25, seed)) < set(kept(data, 0.5, seed))
        parts = [set(kept(many, fraction / 20, seed)) for fraction in range(1, 21)]
        assert all(less <= more for less, more in pairwise(parts))


def test_seeds_choose_other_scans_in_the_datalists_order() -> None:
    data = datalist(a=40)
    assert kept(data, 0.5, 0) == kept(data, 0.5, 0) != kept(data, 0.5, 1)
    order = [scan.subject for scan in data.training]
    assert kept(data, 0.5, 0) == sorted(kept(data, 0.5, 0), key=order.index)


def test_each_region_keeps_a_scan() -> None:
    for seed in range(5):
        assert any(subject.startswith("b") for subject in kept(datalist(a=40, b=1), 0.1, seed))


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, "half", None])
def test_other_shares_are_refused(fraction: object) -> None:
    with pytest.raises(UserError, match="fraction .*: give a number above 0, at most 1"):
        keep_fraction(datalist(a=3), fraction)  # type: ignore[arg-type]
