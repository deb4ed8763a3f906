from __future__ import annotations

from typing import Any

import pytest
import torch
from conemos_bundle.errors import UsageError
from conemos_bundle.inferers import infer, parent_indices
from conemos_bundle.inferers.containment import keep_inside, with_ancestors
from conemos_bundle.networks import FiLMUNet
from torch.nn.functional import interpolate

PARENTS = {2: 1, 1: 0, 3: 0}  # 2 inside 1 inside 0, 3 inside 0; 4 stands alone


@pytest.fixture
def network() -> FiLMUNet:
    torch.manual_seed(0)
    return FiLMUNet(num_regions=5, channels=(2, 4)).eval()


def test_indices_of_names() -> None:
    assert parent_indices({"brain": "body", "body": "uterus"}, ["uterus", "body", "brain"]) == {2: 1, 1: 0}


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ({"brain": "head"}, "--inside: names 'head', which 'regions' does not; the regions are brain, body"),
        ({"brain": "body", "body": "brain"}, "--inside: puts 'brain' inside itself"),
        ("brain", "--inside brain: give regions and what they lie inside of"),
        ({"brain": ["body"]}, "--inside {'brain': ['body']}: give regions"),
    ],
)
def test_what_is_no_nesting_of_the_regions_is_refused(inside: Any, words: str) -> None:
    with pytest.raises(UsageError) as error:
        parent_indices(inside, ["brain", "body"])
    assert str(error.value).startswith(words)


def test_ancestors_follow_what_is_asked_for() -> None:
    assert with_ancestors([2], PARENTS) == [2, 1, 0]
    assert with_ancestors([3, 2, 0], PARENTS) == [3, 2, 0, 1]
    assert with_ancestors([4, 0], PARENTS) == [4, 0]


def test_no_mask_leaves_its_parents_on_any_grid() -> None:
    logits = torch.randn(2, 5, 6, 7, 8, generator=torch.Generator().manual_seed(1))
    kept = keep_inside(logits, range(5), PARENTS)
    for probabilities in (kept.sigmoid(), interpolate(kept.sigmoid(), size=(11, 9, 17), mode="trilinear")):
        masks = probabilities > 0.5
        for inner, outer in PARENTS.items():
            assert masks[:, inner].any()
            assert not (masks[:, inner] & ~masks[:, outer]).any()
    expected = logits.clone()  # by hand
    expected[:, 1] = torch.minimum(logits[:, 1], logits[:, 0])
    expected[:, 2] = torch.minimum(logits[:, 2], expected[:, 1])
    expected[:, 3] = torch.minimum(logits[:, 3], logits[:, 0])
    torch.testing.assert_close(kept, expected)


@torch.no_grad()
@pytest.mark.parametrize("asked", [[2], [3, 2], [4], [0, 1, 2, 3, 4]])
def test_on_demand_as_among_all(network: FiLMUNet, asked: list[int]) -> None:
    image = torch.randn(2, 1, 8, 8, 8)
    everything = infer(image, network, parents=PARENTS)
    some = infer(image, network, torch.tensor(asked), parents=PARENTS)
    assert some.shape == (2, len(asked), 8, 8, 8)
    torch.testing.assert_close(some, everything[:, asked], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(everything, keep_inside(network(image), range(5), PARENTS))


@torch.no_grad()
def test_training_and_what_is_not_declared_stay_as_they_are(network: FiLMUNet) -> None:
    image, own = torch.randn(2, 1, 8, 8, 8), torch.tensor([[2], [1]])
    torch.testing.assert_close(infer(image, network, regions=own, parents=PARENTS), network(image, own))
    torch.testing.assert_close(infer(image, network, parents={}), network(image))
