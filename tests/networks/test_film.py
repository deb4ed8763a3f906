from __future__ import annotations

import pytest
import torch
from conemos_bundle.networks.film import FiLM


def film_of(gamma: torch.Tensor, beta: torch.Tensor) -> FiLM:
    """A layer whose γ and β of the embedding ``torch.eye(rows)[row]`` are those rows."""
    film = FiLM(len(gamma), gamma.shape[1])
    with torch.no_grad():
        film.projection.weight.copy_(torch.cat([gamma, beta], 1).T)
        film.projection.bias.zero_()
    return film


def test_zero_gamma_and_beta_leave_the_features_unchanged() -> None:
    features = torch.randn(2, 3, 4, 5, 6)
    film = film_of(torch.zeros(2, 3), torch.zeros(2, 3))
    assert torch.equal(film(features, torch.eye(2)), features)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("computed", ["once per image", "per region"])
def test_each_image_is_modulated_by_its_own_rows(computed: str, rows: int) -> None:
    features, gamma, beta = torch.randn(2, 3, 4, 5, 6), torch.randn(2 * rows, 3), torch.randn(2 * rows, 3)
    given = features if computed == "once per image" else features.repeat_interleave(rows, 0)
    result = film_of(gamma, beta)(given, torch.eye(2 * rows))
    assert result.shape == (2 * rows, 3, 4, 5, 6)
    for b in range(2):
        for r in range(rows):
            for c in range(3):
                row = b * rows + r
                expected = (1 + gamma[row, c]) * features[b, c] + beta[row, c]
                torch.testing.assert_close(result[row, c], expected)


def test_the_features_keep_their_precision() -> None:
    features = torch.ones(1, 2, 2, 2, 2, dtype=torch.bfloat16)
    result = film_of(torch.full((1, 2), 0.5), torch.full((1, 2), 0.25))(features, torch.ones(1, 1))
    assert result.dtype == torch.bfloat16
    assert result.unique().item() == 1.75


@pytest.mark.parametrize("rows", [1, 3])
def test_with_instance_norm_it_is_what_both_are_one_after_the_other(rows: int) -> None:
    features = torch.randn(2 * rows, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    film = film_of(torch.randn(2 * rows, 3), torch.randn(2 * rows, 3)).double()
    norm = torch.nn.InstanceNorm3d(3, affine=True).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -1.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.5, 0.0, -3.0]))
    z = torch.eye(2 * rows, dtype=torch.float64, requires_grad=True)
    learned = (features, z, film.projection.weight, norm.weight, norm.bias)
    ways = (film(norm(features), z), film.normalize(features, z, norm.weight, norm.bias))
    torch.testing.assert_close(*ways)
    weights = torch.randn_like(ways[0])
    for a, b in zip(*(torch.autograd.grad((way * weights).sum(), learned) for way in ways), strict=True):
        torch.testing.assert_close(a, b)


def test_with_instance_norm_nothing_is_rounded_between_the_two() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 2, 8, 8, 8)
    norm, film = torch.nn.InstanceNorm3d(2, affine=True), film_of(torch.full((1, 2), 0.25), torch.zeros(1, 2))
    result = film.normalize(features.bfloat16(), torch.ones(1, 1), norm.weight, norm.bias)
    assert result.dtype == torch.bfloat16
    exact = film(norm(features.bfloat16().float()), torch.ones(1, 1)).detach()
    torch.testing.assert_close(result.float(), exact, rtol=2**-8, atol=1e-6)  # of bfloat16: once
