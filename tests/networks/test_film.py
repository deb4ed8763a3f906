from __future__ import annotations

import pytest
import torch
from conemos_bundle.networks.film import film


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_zero_gamma_and_beta_leave_the_features_unchanged(shape: tuple[int, ...]) -> None:
    features = torch.randn(shape)
    assert torch.equal(film(features, torch.zeros(2, 3), torch.zeros(2, 3)), features)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("rows", [1, 4])
def test_each_sample_is_modulated_by_its_own_rows(shape: tuple[int, ...], rows: int) -> None:
    features, gamma, beta = torch.randn(shape), torch.randn(2 * rows, 3), torch.randn(2 * rows, 3)
    result = film(features, gamma, beta)
    assert result.shape == (2 * rows, *shape[1:])
    for b in range(2):
        for r in range(rows):
            for c in range(3):
                row = b * rows + r
                expected = (1 + gamma[row, c]) * features[b, c] + beta[row, c]
                torch.testing.assert_close(result[row, c], expected)


def test_the_features_keep_their_precision() -> None:
    features = torch.ones(1, 2, 2, 2, 2, dtype=torch.bfloat16)
    result = film(features, torch.full((1, 2), 0.5), torch.full((1, 2), 0.25))
    assert result.dtype == torch.bfloat16
    assert result.unique().item() == 1.75
