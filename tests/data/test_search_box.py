"""Where training looks for a region."""

from __future__ import annotations

import numpy as np
import torch
from conemos_bundle.data.search_box import MISTAKEN, draw_box, scan_boxes
from conemos_bundle.scales import region_scales
from conemos_bundle.utils.known import IGNORED

PATCH = {"patch_size": [16, 16, 16]}
REGIONS = ["body", "brain", "eyes"]
SCALES = region_scales(
    {
        "body": {"extent_mm": [60.0, 40.0, 40.0], "factor": [2, 2, 2], **PATCH},
        "brain": {
            "extent_mm": [40.0, 30.0, 20.0],
            "factor": [1, 1, 1],
            **PATCH,
            "within": "body",
            "found_at": [2, 2, 2],
        },
        "eyes": {"extent_mm": [10.0, 4.0, 4.0], "factor": [1, 1, 1], **PATCH, "within": "brain"},
    },
    REGIONS,
)
SHAPE, SPACING = (64, 64, 64), (2.0, 2.0, 2.0)
BODY, BRAIN = np.array([[10, 10, 10], [40, 30, 30.0]]), np.array([[12, 12, 12], [30, 27, 22.0]])
EYES = np.array([[20, 20, 20], [24, 22, 22.0]])


def drawn(region: int, level: int, boxes: dict[int, np.ndarray], number: int = 200) -> list[np.ndarray]:
    assert SCALES is not None
    random = np.random.default_rng(0)
    return [draw_box(region, level, boxes, SHAPE, SPACING, SCALES, random) for _ in range(number)]


def test_boxes_of_what_is_there() -> None:
    label = torch.zeros(3, 8, 8, 8, dtype=torch.uint8)
    label[0, 1:4, 2:7, 5:6] = 1
    label[2, 0, 0, 0] = IGNORED
    boxes, partly_known = scan_boxes(label, [2, 0, 1])
    assert list(boxes) == [2]
    assert boxes[2].tolist() == [[1, 2, 5], [4, 7, 6]]
    assert partly_known
    assert not scan_boxes(label[:2], [2, 0]).partly_known


def test_a_region_without_a_parent_is_looked_for_in_the_whole_scan() -> None:
    assert all((box == [[0, 0, 0], SHAPE]).all() for box in drawn(0, 1, {0: BODY}))


def test_a_region_is_looked_for_around_the_parent() -> None:
    boxes = drawn(2, 0, {1: BRAIN, 2: EYES})
    assert all(
        (box[0] <= BRAIN[0]).all() and (box[1] >= BRAIN[1]).all() for box in boxes
    )  # the margin outdoes the jitter
    assert all((box[0] >= 0).all() and (box[0] > BRAIN[0] - 10).all() for box in boxes)
    assert len({tuple(box.flatten()) for box in boxes}) == len(boxes)


def test_an_unknown_parent_is_of_the_usual_size_and_holds_the_region() -> None:
    boxes = drawn(2, 0, {2: EYES})
    assert all((box[0] <= EYES[0]).all() and (box[1] >= EYES[1]).all() for box in boxes)
    sides = np.array([box[1] - box[0] for box in boxes])
    assert np.allclose(sides.mean(0), 1.4 * np.array([20, 15, 10]), rtol=0.1)  # of the brain, with margins
    firsts = np.array([box[0] for box in boxes])
    assert (firsts.max(0) - firsts.min(0) > 5).all()  # anywhere in it


def test_a_region_that_was_found_is_looked_for_in_its_own_box() -> None:
    own = [box[1][0] < BODY[1][0] for box in drawn(1, 0, {0: BODY, 1: BRAIN}, 1000)]
    assert abs(np.mean(own) - (1 - MISTAKEN)) < 0.05  # or what was found is something else
    assert all((box[1] >= BODY[1]).all() for box in drawn(1, 1, {0: BODY, 1: BRAIN}))


def test_an_absent_region_is_looked_for_around_the_parent_or_anywhere() -> None:
    assert all((box[1] < 50).all() for box in drawn(2, 0, {1: BRAIN}))
    assert all((box == [[0, 0, 0], SHAPE]).all() for box in drawn(2, 0, {}))
