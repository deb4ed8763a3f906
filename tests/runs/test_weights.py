from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.inferers import LoadWeights
from conemos_bundle.runs.weights import check_weights, fit_weights, load_weights
from ignite.engine import Engine

ONE = torch.ones(2, 3)
HOSTILE: dict[str, Any] = {
    "a list": [ONE],
    "an integer key": {1: ONE},
    "nested": {"a": {"b": ONE}},
    "a number": {"a": 1.0},
    "NaN": {"a": torch.tensor([1.0, float("nan")])},
    "infinite": {"a": torch.tensor([float("-inf")])},
    "complex": {"a": torch.ones(2, dtype=torch.complex64)},
    "sparse": {"a": ONE.to_sparse()},
    "without data": {"a": torch.empty(3, device="meta")},
    "a large tensor of one number": {"a": torch.ones(1).expand(2**40)},
}


@pytest.mark.parametrize("weights", HOSTILE.values(), ids=HOSTILE)
def test_what_no_network_computes_with_is_refused_in_one_line(weights: Any, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"model\.pt: .*; copy it again, or train again") as error:
        load_weights(tmp_path / "model.pt")
    assert "\n" not in str(error.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.pt")
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_weights(tmp_path / "model.pt")


def test_weights_in_another_memory_format_and_counts_are_fine() -> None:
    weights = {"a": torch.randn(2, 3, 4, 4, 4).to(memory_format=torch.channels_last_3d), "b": torch.tensor(3)}
    assert check_weights(weights) == weights


def test_what_an_ordered_dictionary_carries_along_has_no_say(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    weights = network.state_dict()
    weights._metadata = [1]
    torch.save(weights, tmp_path / "model.pt")
    fit_weights(network, load_weights(tmp_path / "model.pt"), "model.pt")


@pytest.mark.parametrize(
    "changed", [{"weight": None}, {"more\n": ONE}, {"weight": torch.ones(3, 2)}], ids=["less", "more", "another shape"]
)
def test_weights_of_another_network_are_told_before_the_first_scan(changed: dict[str, Any], tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    weights = {name: value for name, value in {**network.state_dict(), **changed}.items() if value is not None}
    with pytest.raises(UserError, match=r"m\.pt: these weights are not of this network \(Linear\)"):
        fit_weights(network, weights, "m.pt")
    torch.save(weights, tmp_path / "model.pt")
    with pytest.raises(UserError, match="not of this network"):
        LoadWeights(tmp_path / "model.pt", {"model": network}).attach(Engine(lambda *_: None))


def test_weights_that_changed_since_their_hash_was_taken(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    with pytest.raises(UserError, match="changed while it was read"):
        LoadWeights(tmp_path / "model.pt", {"model": network}, made_by={"model": "0"}).attach(Engine(lambda *_: None))
