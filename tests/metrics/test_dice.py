from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conemos_bundle.metrics.dice import dice


def test_counts_shared_voxels_twice() -> None:
    # 3 predicted, 4 referred, 2 shared: 2 * 2 / 7
    assert dice(np.array([1, 1, 1, 0, 0]), np.array([0, 1, 1, 1, 1])) == pytest.approx(4 / 7)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ([1, 0], [1, 0], 1.0),
        ([0, 1], [1, 0], 0.0),
        ([0, 0], [1, 1], 0.0),
        ([0, 0], [0, 0], math.nan),
        ([1, 0], [0, 0], math.nan),
    ],
    ids=["equal", "disjoint", "empty prediction", "both empty", "empty reference"],
)
def test_extremes(prediction: list[int], reference: list[int], expected: float) -> None:
    assert dice(np.array(prediction), np.array(reference)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float32])
def test_takes_tensors_of_every_type_of_mask(kind: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    prediction, reference = rng.random((2, 6, 7, 8)) > 0.5
    tensors = torch.as_tensor(prediction).to(kind), torch.as_tensor(reference).to(kind)
    expected = 2 * (prediction * reference).sum() / (prediction.sum() + reference.sum())
    assert dice(*tensors) == pytest.approx(expected)


def test_does_not_overflow_small_integers() -> None:
    assert dice(np.ones(1000, np.uint8), np.ones(1000, np.uint8)) == 1.0


def test_refuses_other_shapes_and_unknown_references() -> None:
    with pytest.raises(ValueError, match="one shape"):
        dice(np.ones((1, 4)), np.ones((4, 4)))
    with pytest.raises(ValueError, match="not annotated"):
        dice(np.ones(4), np.full(4, np.nan))
