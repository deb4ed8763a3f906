from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.paper import timing
from conemos_bundle.paper.collect import find_runs
from conemos_bundle.paper.timing import Timing, interleaved_medians, measure

DICE = {"body": [0.9], "eyes": [0.8]}


def test_each_round_makes_every_call_and_starts_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, made = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def call(name: str, seconds: list[float]) -> Callable[[], None]:
        def run() -> None:
            clock[0] += seconds[made.count(name)]
            made.append(name)

        return run

    # the first is the warm-up; then medians 2, 3 and 5
    seconds = {"a": [90.0, 1, 2, 40], "b": [90.0, 3, 3, 1], "c": [90.0, 5, 1, 9]}
    medians = interleaved_medians({name: call(name, times) for name, times in seconds.items()}, rounds=3)
    assert medians == {"a": 2, "b": 3, "c": 5}
    assert "".join(made) == "abc" + "abc" + "bca" + "cab"


def test_networks_of_the_runs_on_one_patch(
    tmp_path: Path, write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("CoNeMOS", "DoDNet", "Individual networks"):
        write_run(tmp_path / method, DICE, method=method)
    shapes = []

    def segment(network: torch.nn.Module, image: torch.Tensor) -> None:
        assert torch.is_inference_mode_enabled() and not network.training
        shapes.append((type(network).__name__, tuple(image.shape), tuple(network(image).shape)))

    monkeypatch.setattr(timing, "_segment", segment)
    table = measure(find_runs(tmp_path), rounds=2)
    assert list(table.columns) == list(Timing.model_fields)
    assert table["method"].tolist() == ["Individual networks", "DoDNet", "CoNeMOS"]
    assert set(table["size"]) == {"16 x 16 x 8"} and set(table["rounds"]) == {2}
    assert (table["milliseconds"] > 0).all()
    assert table["ratio"].tolist() == pytest.approx(
        (table["milliseconds"] / table["milliseconds"].iloc[-1]).tolist(), rel=0.01
    )
    patch_and_logits = ((1, 1, 16, 16, 8), (1, 2, 16, 16, 8))  # all K regions
    assert set(shapes) == {(name, *patch_and_logits) for name in ("IndividualNetworks", "DoDNet", "FiLMUNet")}
    assert set(measure(find_runs(tmp_path), [8, 8, 16], rounds=1)["size"]) == {"8 x 8 x 16"}
    assert shapes[-1][1] == (1, 1, 8, 8, 16)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (16, 16)}, r"--size \(16, 16\): give three numbers"),
        ({"size": "abc"}, "--size abc: give three numbers"),
        ({"rounds": 0}, "--rounds 0: give a number of at least 1"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str, tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "a", DICE)
    with pytest.raises(UserError, match=words):
        measure(find_runs(tmp_path), **options)


def test_a_network_that_cannot_be_made(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    folder = write_run(tmp_path / "a", DICE)
    record = folder / "run.json"
    record.write_text(record.read_text().replace('"n_conditioned"', '"n_unknown"'))
    with pytest.raises(UserError, match=r"a/run.json: network.n_unknown: Extra inputs"):
        measure(find_runs(tmp_path))


def test_nothing_to_compare_with(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "a", DICE, method="DoDNet")
    with pytest.raises(UserError, match="no run of CoNeMOS"):
        measure(find_runs(tmp_path))
