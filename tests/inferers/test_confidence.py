"""The Dice that a network expects of itself."""

from __future__ import annotations

import pytest
import torch
from conemos_bundle.inferers.confidence import soft_dice_confidence


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        ([1.0, 1.0, 0.0], 1.0),  # sure
        ([0.6, 0.0, 0.0], 2 * 0.6 / (0.6 + 1)),
        ([0.9, 0.4, 0.0], 2 * 0.9 / (0.9 + 0.4 + 1)),
        ([0.4, 0.4, 0.5], 0.0),  # nothing found
    ],
)
def test_soft_dice_confidence(probability: list[float], expected: float) -> None:
    assert soft_dice_confidence(torch.tensor(probability)) == pytest.approx(expected)
    # the size of the region does not matter
    assert soft_dice_confidence(torch.tensor(probability * 100)) == pytest.approx(expected, rel=1e-5)
