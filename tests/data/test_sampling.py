from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from conemos_bundle.data.sampling import RULES, RegionSampler, Sample, region_probabilities
from conemos_bundle.errors import UsageError
from conemos_bundle.scales import Scales, region_scales

ANNOTATED = [[0], [0, 1], [0], [1, 3], [0], []]  # region 0: four scans, 1: two, 2: none, 3: one
SCANS = [{0, 1, 2, 4}, {1, 3}, set(), {3}]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("inverse_size", [1 / 7, 2 / 7, 0, 4 / 7]),  # ∝ 1/4, 1/2, -, 1
        ("uniform", [1 / 3, 1 / 3, 0, 1 / 3]),
        ("proportional", [4 / 7, 2 / 7, 0, 1 / 7]),
    ],
)
def test_probabilities_by_hand(rule: str, expected: list[float]) -> None:
    np.testing.assert_allclose(region_probabilities([4, 2, 0, 1], rule), expected, rtol=1e-12)


def test_the_rule_of_the_paper_and_the_default() -> None:
    np.testing.assert_allclose(region_probabilities([12, 76], "inverse_size"), [76 / 88, 12 / 88])
    np.testing.assert_allclose(region_probabilities([12, 76]), [1 / 2, 1 / 2])


def test_unknown_rule_and_nothing_annotated() -> None:
    with pytest.raises(ValueError, match="sampling rule 'inverse': use one of inverse_size, uniform, proportional"):
        region_probabilities([1], "inverse")
    with pytest.raises(ValueError, match="no region is annotated"):
        region_probabilities([0, 0])


def sampler(rule: str = "uniform", samples: int = 50, seed: int = 0, rank: int = 0, epoch: int = 1) -> RegionSampler:
    sampler = RegionSampler(ANNOTATED, 4, samples, rule, seed, rank)
    sampler.set_epoch(epoch)
    return sampler


@pytest.mark.parametrize("rule", ["inverse_size", "uniform", "proportional"])
def test_frequencies(rule: str) -> None:
    samples = 20_000
    draws = list(sampler(rule, samples))
    assert len(draws) == samples
    regions = Counter(draw.region for draw in draws)
    pairs = Counter((draw.region, draw.scan) for draw in draws)
    for k, p in enumerate(region_probabilities([4, 2, 0, 1], rule)):
        assert regions[k] / samples == pytest.approx(p, abs=0.015)
        assert {scan for region, scan in pairs if region == k} == SCANS[k]
        for scan in SCANS[k]:  # uniform among the scans annotated for the region
            assert pairs[k, scan] / samples == pytest.approx(p / len(SCANS[k]), abs=0.012)
    assert regions[2] == 0
    assert len({draw.seed for draw in draws}) > 0.99 * samples


ABSENT = [[1], [], [1, 3], [], [3], [3, 0]]  # region 0: one scan, 1: two, 3: three


@pytest.mark.parametrize("rule", ["inverse_size", "uniform", "proportional"])
def test_absent_scans_are_drawn_alike_but_at_most_half_of_the_time(rule: str) -> None:
    """They leave the frequency of the regions as it is: it counts scans where a region is there."""
    samples = 20_000
    draws = list(RegionSampler(ANNOTATED, 4, samples, rule, absent=ABSENT))
    pairs = Counter((draw.region, draw.scan) for draw in draws)
    for k, (p, part) in enumerate(zip(region_probabilities([4, 2, 0, 1], rule), [1 / 5, 1 / 2, 0, 1 / 2], strict=True)):
        absent = {scan for scan, regions in enumerate(ABSENT) if k in regions} if p else set()
        assert {scan for region, scan in pairs if region == k} == SCANS[k] | absent
        for scans, frequency in ((SCANS[k], p * (1 - part)), (absent, p * part)):
            for scan in scans:
                assert pairs[k, scan] / samples == pytest.approx(frequency / len(scans), abs=0.012)


def test_without_absent_regions_the_draws_are_the_same_as_ever() -> None:
    assert list(RegionSampler(ANNOTATED, 4, 50, absent=[[]] * 6)) == list(sampler())
    assert list(sampler("inverse_size", 3)) == [
        Sample(3, 3, 53832003),
        Sample(3, 3, 839755524),
        Sample(3, 1, 349678271),
    ]


def test_in_turn_every_batch_holds_each_annotated_region_alike() -> None:
    draws = list(sampler("in_turn", 60))
    assert [draw.region for draw in draws] == [0, 1, 3] * 20
    assert all(draw.scan in SCANS[draw.region] for draw in draws)


def test_a_draw_depends_on_seed_rank_and_epoch_alone() -> None:
    draws = list(sampler())
    assert all(isinstance(draw, Sample) for draw in draws)
    used = RegionSampler(ANNOTATED, 4, 50)
    for epoch in (1, 2, 3):
        used.set_epoch(epoch)
        list(used)
    used.set_epoch(1)
    assert list(used) == draws
    others = [sampler(seed=1), sampler(rank=1), sampler(epoch=2)]
    different = [draws, *(list(other) for other in others)]
    assert all(a != b for a, b in itertools.combinations(different, 2))


def test_the_first_epoch_is_1() -> None:
    assert list(RegionSampler(ANNOTATED, 4, 50)) == list(sampler(epoch=1))


def test_a_longer_epoch_begins_like_a_shorter_one() -> None:
    assert list(sampler(samples=80))[:50] == list(sampler())
    assert len(sampler(samples=80)) == 80


def scales(*, patch_sizes: tuple[int, int] = (8, 16)) -> Scales:
    """Regions 0 and 1 at level 1; 2 and 3 at level 0, region 3 found at level 1 first."""
    coarse = {"extent_mm": [9.0] * 3, "factor": [2] * 3, "patch_size": [patch_sizes[1]] * 3}
    fine = {"extent_mm": [9.0] * 3, "factor": [1] * 3, "patch_size": [patch_sizes[0]] * 3}
    found = region_scales({"a": coarse, "b": coarse, "c": fine, "d": {**fine, "found_at": [2] * 3}}, list("abcd"))
    assert found is not None
    return found


@pytest.mark.parametrize("rule", ["inverse_size", "uniform", "proportional"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_batch_is_of_one_level_and_levels_are_drawn_alike(rule: str, batch_size: int) -> None:
    drawn = list(RegionSampler(ANNOTATED, 4, 18_000, rule, scales=scales(), batch_size=batch_size))
    batches = [drawn[i : i + batch_size] for i in range(0, len(drawn), batch_size)]
    assert all(len({draw.level for draw in batch}) == 1 for batch in batches)
    assert all(draw.scan in SCANS[draw.region] for draw in drawn)
    frequencies = Counter((draw.region, draw.level) for draw in drawn)
    expected = region_probabilities([len(scans) for scans in SCANS], rule)
    coarse = {(0, 1): expected[0], (1, 1): expected[1], (3, 1): expected[3] / 3}
    assert set(frequencies) == {(3, 0), *coarse}
    assert frequencies[3, 0] / len(drawn) == pytest.approx(0.5, abs=0.025)
    for pair, share in coarse.items():
        assert frequencies[pair] / len(drawn) == pytest.approx(share / sum(coarse.values()) / 2, abs=0.025)


def test_regions_in_turn_take_patches_of_one_size() -> None:
    with pytest.raises(UsageError, match="in_turn: patches of several sizes"):
        RegionSampler(ANNOTATED, 4, 6, "in_turn", scales=scales(), batch_size=3)
    drawn = list(RegionSampler(ANNOTATED, 4, 600, "in_turn", scales=scales(patch_sizes=(8, 8)), batch_size=3))
    assert [draw.region for draw in drawn[:6]] == [0, 1, 3, 0, 1, 3]
    assert Counter((draw.region, draw.level) for draw in drawn)[3, 1] == pytest.approx(200 / 3, abs=25)


@pytest.mark.parametrize("rule", RULES)
def test_without_scales_every_draw_is_of_level_0(rule: str) -> None:
    assert {draw.level for draw in sampler(rule)} == {0}
