"""Each region at its own spacing, within the box of the one that contains it; on a network that cannot err."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from conemos_bundle.inferers import infer
from conemos_bundle.inferers.each_region import infer_each
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.inferers.own_scale import without_specks
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.scales import Scales, region_scales

REGIONS = ["body", "brain", "eyes", "other"]
BODY, BRAIN, EYES, OTHER = range(4)
WINDOW = (16, 16, 16)
SIZE = (48, 40, 44)
PLACES = {
    BODY: (slice(8, 40), slice(8, 32), slice(4, 36)),
    BRAIN: (slice(12, 28), slice(12, 26), slice(8, 20)),
    EYES: (slice(14, 16), slice(14, 17), slice(10, 12)),
    OTHER: (slice(40, 46), slice(34, 38), slice(38, 44)),
}


def scales(**changes: dict[str, Any]) -> Scales:
    extent = {"extent_mm": [10.0, 10.0, 10.0], "patch_size": list(WINDOW)}
    planned: dict[str, dict[str, Any]] = {
        "body": {**extent, "factor": [2, 2, 2]},
        "brain": {**extent, "factor": [1, 1, 1], "within": "body", "found_at": [2, 2, 2]},
        "eyes": {**extent, "factor": [1, 1, 1], "within": "brain"},
        "other": {**extent, "factor": [2, 2, 2]},
    }
    found = region_scales({region: {**scale, **changes.get(region, {})} for region, scale in planned.items()}, REGIONS)
    assert found is not None
    return found


def scan(*regions: int) -> torch.Tensor:
    """Channel 0: noise, so that nothing is air. Channel k + 1: where region k is."""
    image = torch.zeros(1, 1 + len(REGIONS), *SIZE)
    image[:, 0] = torch.rand(SIZE, generator=torch.Generator().manual_seed(0))
    for k in regions:
        image[(0, k + 1, *PLACES[k])] = 1
    return image


class Seeing(torch.nn.Module):
    """A network that reads the answer from the image; and what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[list[int], tuple[int, ...]]] = []

    def forward(self, image: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        self.asked.append((regions.tolist(), tuple(image.shape[2:])))
        return 20 * image[:, 1 + regions % len(REGIONS)] - 9

    @property
    def codes(self) -> set[int]:
        return {code for codes, _ in self.asked for code in codes}


def masks(logits: torch.Tensor) -> list[torch.Tensor]:
    return [channel > 0 for channel in logits[0]]


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """But for the corners of a coarse box, which interpolation rounds off."""
    expected = expected > 0
    return float((found ^ expected).sum()) <= 0.08 * float(expected.sum())


def ask(image: torch.Tensor, *regions: int, network: Any = None, **options: Any) -> torch.Tensor:
    options = {"scales": scales(), **options}
    asked = torch.tensor(regions) if regions else None
    return infer(image, network or Seeing(), asked, "window", WINDOW, **options)


def test_every_region_is_found_where_it_is() -> None:
    image = scan(BODY, BRAIN, EYES, OTHER)
    for k, mask in enumerate(masks(ask(image))):
        assert same(mask, image[0, k + 1]), REGIONS[k]


def test_regions_come_in_the_order_asked_for() -> None:
    image = scan(BODY, BRAIN, EYES, OTHER)
    eyes, body = masks(ask(image, EYES, BODY))
    assert same(eyes, image[0, 1 + EYES])
    assert same(body, image[0, 1 + BODY])


def test_only_what_is_asked_for_and_what_contains_it_is_computed() -> None:
    network = Seeing()
    ask(scan(BODY, BRAIN, EYES, OTHER), BRAIN, network=network)
    assert network.codes == {BODY + 4, BRAIN + 4, BRAIN}  # 4 regions: the second level is 4 … 7
    network = Seeing()
    ask(scan(BODY, BRAIN, EYES, OTHER), OTHER, network=network)
    assert network.codes == {OTHER + 4}


def test_what_lies_far_from_the_parent_costs_nothing() -> None:
    """The eyes are looked for in one window around the brain, not in the whole scan."""
    network = Seeing()
    ask(scan(BODY, BRAIN, EYES), EYES, network=network)
    eyes = [size for codes, size in network.asked if EYES in codes]
    assert len(eyes) <= 8
    whole = Seeing()
    infer(scan(BODY, BRAIN, EYES), whole, torch.tensor([EYES]), "window", WINDOW)
    assert len(whole.asked) > 4 * len(eyes)


def test_a_region_outside_of_its_parents_box_is_not_found() -> None:
    image = scan(BODY, BRAIN)
    image[0, 1 + EYES, 44:46, 36:38, 40:42] = 1
    assert not masks(ask(image, EYES))[0].any()


def test_a_region_just_outside_of_its_parent_is_found() -> None:
    image = scan(BODY, BRAIN)
    image[0, 1 + EYES, 10:12, 14:17, 10:12] = 1  # right at the brain
    assert torch.equal(masks(ask(image, EYES))[0], image[0, 1 + EYES] > 0)


@pytest.mark.parametrize("there", [(BODY, EYES), (EYES,), (BRAIN, EYES)])
def test_where_a_parent_is_missed_the_whole_scan_is_searched_and_that_is_said(
    there: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    image = scan(*there)
    with caplog.at_level(logging.INFO, logger="conemos_bundle"):
        found = masks(ask(image, EYES))[0]
    assert same(found, image[0, 1 + EYES])
    assert any("looked for in the whole scan" in message for message in caplog.messages)


def test_a_wrong_parent_misleads_only_those_within_it() -> None:
    """A parent found in the wrong place hides what lies elsewhere; others do not suffer."""
    image = scan(BODY, EYES, OTHER)
    image[0, 1 + BRAIN, 30:36, 20:28, 24:32] = 1
    found = masks(ask(image))
    assert not found[EYES].any()
    assert same(found[OTHER], image[0, 1 + OTHER])


def test_a_speck_far_away_does_not_widen_the_box() -> None:
    image = scan(BODY, BRAIN, EYES)
    network = Seeing()
    ask(image, EYES, network=network)
    image[0, 1 + BRAIN, 37:39, 29:31, 33:35] = 1  # a third of the brain it is not
    again = Seeing()
    assert torch.equal(masks(ask(image, EYES, network=again))[0], image[0, 1 + EYES] > 0)
    assert len(again.asked) == len(network.asked)


class Doubting(Seeing):
    """Sees the brain, at its own scale, in all of the body too."""

    def forward(self, image: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        logits = super().forward(image, regions)
        fine = (regions == BRAIN).view(1, -1, 1, 1, 1)
        return torch.where(fine, 20 * image[:, 1 + BODY : 2 + BODY] - 9, logits)


def test_what_was_found_coarsely_stays_near_to_there() -> None:
    """Two parts are found; what the network sees between them, at its own scale, is not."""
    image = scan(BODY, BRAIN)
    image[0, 1 + BRAIN, 28:38, 16:26, 24:34] = 1
    found = masks(ask(image, BRAIN, network=Doubting()))[0]
    assert found[image[0, 1 + BRAIN] > 0].all()
    near = torch.nn.functional.max_pool3d(image[:, 1 + BRAIN], 9, 1, 4)[0] > 0  # two coarse voxels
    assert not found[~near].any()
    assert image[0, 1 + BODY, 14, 13, 32] > 0  # in the box of both, where the network sees the brain
    assert not found[14, 13, 32]


def test_what_is_found_at_its_own_spacing_is_looked_at_again_in_the_middle_of_a_window() -> None:
    image = scan(BODY, BRAIN)
    image[0, 1 + EYES, 26:29, 24:27, 18:21] = 1  # at the edge of the brain's box
    network = Seeing()
    found = masks(ask(image, EYES, network=network, scales=scales(eyes={"found_at": [1, 1, 1]})))[0]
    assert torch.equal(found, image[0, 1 + EYES] > 0)
    once = Seeing()
    ask(image, EYES, network=once)
    assert len(network.asked) == len(once.asked) + 1
    assert network.asked[-1] == ([EYES], WINDOW)


def test_what_is_not_found_coarsely_is_looked_for_finely() -> None:
    image = scan(BODY)
    image[0, 1 + BRAIN, 20, 20, 20] = 1  # an eighth of a coarse voxel
    network = Seeing()
    assert torch.equal(masks(ask(image, BRAIN, network=network))[0], image[0, 1 + BRAIN] > 0)


def test_the_box_of_a_region_is_in_voxels_of_the_scan() -> None:
    logits = torch.full((10, 10, 10), -1.0)
    place = (4, 6, 8), (24, 26, 18)
    assert without_specks(logits, None, (2, 2, 1), place) is None
    logits[2:4, 3:8, 5] = 1
    parts = without_specks(logits, None, (2, 2, 1), place)
    assert parts is not None and parts.box == ((8, 12, 13), (12, 22, 14))
    assert same(parts.inside, logits > 0)


def test_specks_are_dropped_and_do_not_widen_the_box() -> None:
    logits = torch.full((12, 12, 12), -1.0)
    logits[0:4, 0, 0] = logits[0:3, 6, 6] = logits[10, 10, 10:] = logits[11, 0, 11] = 1.0
    for speck, voxels, end in ((1, 4, (4, 1, 1)), (0.6, 7, (4, 7, 7)), (0.5, 9, (11, 11, 12)), (0, 10, (12, 11, 12))):
        parts = without_specks(logits, speck, (1, 1, 1), ((0, 0, 0), (12, 12, 12)))
        assert parts is not None and parts.box == ((0, 0, 0), end)
        assert int(parts.inside.sum()) == voxels


def test_plans_that_do_not_say_keep_specks_out_of_the_box_alone() -> None:
    logits = torch.full((12, 12, 12), -1.0)
    logits[0:4, 0, 0] = logits[11, 0, 11] = 1.0
    parts = without_specks(logits, None, (1, 1, 1), ((0, 0, 0), (12, 12, 12)))
    assert parts is not None and parts.box == ((0, 0, 0), (4, 1, 1))
    assert same(parts.inside, logits > 0)


def test_what_touches_by_a_corner_is_one_part() -> None:
    logits = torch.full((4, 4, 4), -1.0)
    logits[0, 0, 0] = logits[1, 1, 1] = logits[2, 2, 2] = 1.0
    parts = without_specks(logits, 1.0, (1, 1, 1), ((0, 0, 0), (4, 4, 4)))
    assert parts is not None and int(parts.inside.sum()) == 3


def test_a_part_too_small_is_dropped_from_what_is_found() -> None:
    image = scan(BODY, BRAIN, EYES)
    image[0, 1 + EYES, 24, 24, 16] = 1  # in the brain's box
    of_all, without = (masks(ask(image, scales=scales(eyes={"speck": speck})))[EYES] for speck in (None, 0.5))
    assert same(of_all, image[0, 1 + EYES]) and of_all[24, 24, 16]
    assert same(without, scan(EYES)[0, 1 + EYES]) and not without[24, 24, 16]


def test_one_level_in_the_whole_scan_is_inference_without_scales() -> None:
    one = scales(**{region: {"factor": [1, 1, 1], "within": None, "found_at": None} for region in REGIONS})
    torch.manual_seed(0)
    network = FiLMUNet(in_channels=5, num_regions=4, channels=(2, 4), norm="instance").eval()
    image = scan(BODY, BRAIN)
    with torch.no_grad():
        expected = infer(image, network, None, "window", WINDOW)
        torch.testing.assert_close(infer(image, network, None, "window", WINDOW, scales=one), expected)


def test_sizes_that_are_no_multiple_of_a_factor() -> None:
    image = scan(BODY, BRAIN, EYES, OTHER)[:, :, :47, :39, :41]
    found = masks(ask(image, scales=scales(body={"factor": [4, 4, 4]}, brain={"found_at": [4, 4, 4]})))
    assert same(found[BRAIN], image[0, 1 + BRAIN])
    assert same(found[OTHER], image[0, 1 + OTHER])
    assert found[BODY].shape == (47, 39, 41)


def test_each_image_of_a_batch_has_its_own_boxes() -> None:
    images = torch.cat([scan(BODY, BRAIN, EYES), scan(BRAIN, OTHER)])
    found = ask(images)
    assert all(same(a > 0, b) for a, b in zip(found.flatten(0, 1), images[:, 1:].flatten(0, 1), strict=True))


def test_declared_containment_holds() -> None:
    image = scan(BODY, BRAIN)
    image[0, 1 + BRAIN, 6:12, 14:20, 10:16] = 1  # leaves the body
    brain = masks(ask(image, BRAIN, parents={BRAIN: BODY}))[0]
    assert torch.equal(brain, (image[0, 1 + BRAIN] > 0) & (image[0, 1 + BODY] > 0))


@pytest.mark.parametrize("asked", [[EYES], [OTHER, EYES, BODY], [BODY, BRAIN, EYES, OTHER]])
@pytest.mark.parametrize("parents", [{}, {EYES: BODY}, {BRAIN: BODY, OTHER: BRAIN}])
def test_one_region_after_the_other_as_all_together(asked: list[int], parents: dict[int, int]) -> None:
    image = scan(BODY, BRAIN, EYES, OTHER)
    together = ask(image, *asked, parents=parents)[0]

    def inferer(*arguments: Any, **options: Any) -> torch.Tensor:
        return infer(*arguments, mode="window", **options)

    names = {k: REGIONS[k] for k in asked}
    each = dict(infer_each(inferer, image, EncodeOnce(Seeing()), names, parents, scales=scales()))
    assert sorted(each) == sorted(asked)
    for place, k in enumerate(asked):
        assert torch.equal(each[k], together[place])


def test_features_are_kept_per_part_of_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again, also for other regions in between, nothing is encoded twice, and the answers are the same."""
    torch.manual_seed(0)
    network = FiLMUNet(
        in_channels=5, num_regions=4, channels=(2, 4), norm="instance", n_conditioned=3, spacings=[[1] * 3, [2] * 3]
    ).eval()
    encoded, encode = [0], network.encode

    def counted(image: torch.Tensor) -> list[torch.Tensor]:
        encoded[0] += 1
        return encode(image)

    monkeypatch.setattr(network, "encode", counted)
    image, once = scan(BODY, BRAIN, EYES), EncodeOnce(network)
    with torch.no_grad():
        expected = ask(image, network=network)
        first = ask(image, BRAIN, network=once)
        number = encoded[0]
        again = ask(image, BRAIN, network=once)
        assert encoded[0] == number
        torch.testing.assert_close(ask(image, network=once), expected)
    assert torch.equal(first, again)
    torch.testing.assert_close(first[:, 0], expected[:, BRAIN])
