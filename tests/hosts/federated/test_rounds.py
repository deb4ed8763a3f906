"""A federation of two sites without FLARE: what is sent, what comes of it, kill and resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conemos_bundle import Predictor
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.federated.job import Job, read_job
from conemos_bundle.hosts.federated.messages import check_message
from conemos_bundle.hosts.federated.rounds import STATE, build_network, common_plan, run_rounds
from conemos_bundle.networks.film import FiLM
from conemos_bundle.networks.region_order import region_owners
from conemos_bundle.runs.record import read_run
from conemos_bundle.runs.weights import load_weights

PLAN = {"in_channels": 1, "spacing": [2.0, 2.0, 2.0], "patch_size": [16, 16, 8], "whole_scans": False}


def test_a_federation_ends_as_a_run_that_predicts(job: Any, ask: Any, tmp_path: Path, tiny_dataset: Path) -> None:
    run_rounds(job(rounds=2), ask, tmp_path / "run")
    record = read_run(tmp_path / "run" / "run.json")
    assert record.regions == ["outer", "inner core"] and record.plan.spacing == [2.0, 2.0, 2.0]
    assert record.data.annotated["training"] == {"scans": 3, "outer": 2, "inner core": 1}
    text = (tmp_path / "run" / "run.json").read_text()
    assert str(tmp_path) not in text and str(tiny_dataset) not in text and "ward" not in text
    found = Predictor.load(tmp_path / "run")(tiny_dataset / "images" / "test_0.nii.gz")
    assert set(found.regions) == {"outer", "inner core"}

    rows = pd.read_csv(tmp_path / "run" / "rounds.csv")
    assert (
        rows["steps"].tolist() == [4, 4] and (rows["masks_outer"] == 2).all() and (rows["masks_inner core"] == 2).all()
    )
    # the best round's weights are what the run holds: those that the sites got one task later
    best = int(record.settings["best_round"])
    assert best == 1 + int(np.argmax(rows["dice"])) and rows["dice"].notna().all()
    of_round = {number: answers for task, number, answers in ask.messages if task != "describe"}
    told = [of_round[best][site]["dice"] for site in ("site-1", "site-2")]
    assert math.isnan(told[0][1]) and math.isnan(told[1][0])  # each site has one region
    row = rows.iloc[best - 1]
    assert row["dice_outer"] == pytest.approx(told[0][0], abs=1e-6)
    assert row["dice"] == pytest.approx((told[0][0] + told[1][1]) / 2, abs=1e-6)


def test_a_region_learns_at_its_site_alone(job: Any, ask: Any, tmp_path: Path) -> None:
    run_rounds(job(rounds=1), ask, tmp_path / "run")
    planned = job().model_copy(update={"plan": read_job_plan()})
    start = build_network(planned).state_dict()
    name = "embedding.0.weight"
    sent = {site: torch.from_numpy(m[name]) for site, m in ask.messages[1][2].items()}
    assert torch.equal(sent["site-1"][:, 1], start[name][:, 1]) and torch.equal(sent["site-2"][:, 0], start[name][:, 0])
    assert not torch.equal(sent["site-1"][:, 0], start[name][:, 0])
    state = torch.load(tmp_path / "run" / STATE, weights_only=True)["weights"]
    assert torch.equal(state[name], torch.stack([sent["site-1"][:, 0], sent["site-2"][:, 1]], 1))
    assert set(region_owners(build_network(planned), start)) == {name}
    # so are γ and β: those of each region are what its own site has made of them
    network: Any = build_network(planned)
    of_site = [films(network, {n: torch.from_numpy(m[n]) for n in start}) for m in ask.messages[1][2].values()]
    torch.testing.assert_close(films(network, state), torch.stack([of_site[0][0], of_site[1][1]]), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(of_site[0], of_site[1], atol=1e-4)


def films(network: Any, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """γ and β of all FiLM layers, (K, …)."""
    network.load_state_dict(weights)
    modules = [module for module in network.modules() if isinstance(module, FiLM)]
    with torch.no_grad():
        return torch.cat([module.projection(network.embedding(network.codes)) for module in modules], 1)


def read_job_plan() -> Any:
    return Job.model_validate({"regions": ["a"], "sites": ["s"], "rounds": 1, "local_steps": 1, "plan": PLAN}).plan


def test_messages_hold_weights_and_counts_and_nothing_else(job: Any, ask: Any, tmp_path: Path) -> None:
    run_rounds(job(rounds=1), ask, tmp_path / "run")
    shapes = {n: tuple(w.shape) for n, w in load_weights(tmp_path / "run" / "model.pt").items()}
    assert [task for task, _, _ in ask.messages] == ["describe", "train", "evaluate"]
    for task, _, answers in ask.messages:
        for message in answers.values():
            check_message(message, task, 2, shapes)
            assert all(type(value) is np.ndarray for value in message.values())


def test_a_killed_server_goes_on_and_ends_with_the_same_weights(job: Any, ask: Any, tmp_path: Path) -> None:
    run_rounds(job(rounds=3, learning_rate=0.01), ask, tmp_path / "whole")

    def dies(task: str, number: int, *rest: Any) -> dict[str, Any]:
        if number == 2:
            raise KeyboardInterrupt
        return ask(task, number, *rest)

    with pytest.raises(KeyboardInterrupt):
        run_rounds(job(rounds=3, learning_rate=0.01), dies, tmp_path / "killed")
    assert not (tmp_path / "killed" / "model.pt").exists()
    ask.messages.clear()
    run_rounds(job(rounds=3, learning_rate=0.01), ask, tmp_path / "killed")
    assert [number for task, number, _ in ask.messages if task == "train"] == [2]
    for name in ("model.pt", STATE):
        whole, killed = (torch.load(tmp_path / run / name, weights_only=True) for run in ("whole", "killed"))
        weights = (whole["weights"], killed["weights"]) if name == STATE else (whole, killed)
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert (tmp_path / "whole" / "rounds.csv").read_text() == (tmp_path / "killed" / "rounds.csv").read_text()
    with pytest.raises(UserError, match="other sites, regions or settings; pass another --output"):
        run_rounds(job(rounds=4, learning_rate=0.01), ask, tmp_path / "killed")
    (tmp_path / "killed" / STATE).write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="cannot be read; remove it to start anew"):
        run_rounds(job(rounds=3, learning_rate=0.01), ask, tmp_path / "killed")


@pytest.mark.parametrize("method", ["psl_loss", "dodnet"])
def test_other_methods(method: str, job: Any, ask: Any, tmp_path: Path) -> None:
    run_rounds(job(rounds=1, method=method), ask, tmp_path / "run")
    masks = {site: m["masks"].tolist() for site, m in ask.messages[1][2].items()}
    assert masks == {"site-1": [2, 0], "site-2": [0, 2]}


def test_a_site_that_is_missing_or_sends_something_else(job: Any, ask: Any, tmp_path: Path) -> None:
    def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[..., dict[str, Any]]:
        def give(task: str, *rest: Any) -> dict[str, Any]:
            answers = ask(task, *rest)
            if task == "train":
                change(answers)
            return answers

        return give

    with pytest.raises(UserError, match="train: no answer of site-2; its log says why"):
        run_rounds(job(), changed(lambda answers: answers.pop("site-2")), tmp_path / "a")
    with pytest.raises(UserError, match="the message has 'patient'"):
        run_rounds(job(), changed(lambda a: a["site-2"].update(patient=np.zeros(3))), tmp_path / "b")


def test_a_site_whose_training_diverges_does_not_spoil_what_is_saved(job: Any, ask: Any, tmp_path: Path) -> None:
    def large(task: str, number: int, *rest: Any) -> dict[str, Any]:
        answers = ask(task, number, *rest)
        if task == "train" and number == 1:
            answers["site-2"] |= {name: a * 0 + 1e30 for name, a in answers["site-2"].items() if "." in name}
        return answers

    with pytest.raises(UserError, match=r"round 2: the sites' weights have no average .*; those of site-2"):
        run_rounds(job(rounds=2), large, tmp_path / "run")
    run_rounds(job(rounds=2), ask, tmp_path / "run")  # goes on
    assert (tmp_path / "run" / "model.pt").is_file()


def test_a_site_counts_for_the_steps_that_it_was_asked_for(job: Any, ask: Any, tmp_path: Path) -> None:
    def boasts(task: str, *rest: Any) -> dict[str, Any]:
        answers = ask(task, *rest)
        if task == "train":
            answers["site-1"]["steps"] = np.array(10**5)
        return answers

    with pytest.raises(UserError, match="site-1: has made 100000 steps; 2 were asked for"):
        run_rounds(job(), boasts, tmp_path / "run")


def told(channels: int = 1, spacing: float = 1.0, scans: int = 3, extent: float = 40.0) -> dict[str, Any]:
    return {
        "channels": np.array(channels), "spacing": np.full(3, spacing), "extent": np.full(3, extent),
        "scans": np.array([scans, 1]), "annotated": np.ones((2, 2), int),
    }  # fmt: skip


def test_the_plan_is_the_median_of_all_scans(job: Any) -> None:
    own = job().model_copy(update={"settings": {}})
    plan = common_plan(own, {"a": told(spacing=1.0, scans=5, extent=40), "b": told(spacing=2.0, scans=2, extent=80)})
    assert (plan.spacing, plan.patch_size, plan.whole_scans) == ([1.0] * 3, [40] * 3, True)
    with pytest.raises(UserError, match="the plan of the input: patch_size.0: "):
        common_plan(job(patch_size=[1000, 16, 16]), {"a": told()})
    given = job(spacing=[4.0, 4.0, 4.0])
    assert common_plan(given, {"a": told(), "b": told(spacing=900.0)}).patch_size == [16, 16, 8]


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (told(channels=2), r"b: its scans have 2 channel\(s\), those of a 1"),
        (
            told(spacing=0.1),
            r"b: its voxels are \[0.1, 0.1, 0.1\] mm, those of a \[1.0, 1.0, 1.0\] mm; if that is so, pass --s",
        ),
    ],
)
def test_sites_that_do_not_go_together(other: Mapping[str, Any], line: str, job: Any) -> None:
    with pytest.raises(UserError, match=line):
        common_plan(job(), {"a": told(), "b": dict(other)})


def test_a_region_that_no_site_annotates(job: Any, ask: Any, tmp_path: Path) -> None:
    def nothing(*task: Any) -> dict[str, Any]:
        answers = ask(*task)
        answers["site-2"]["annotated"][0, 1] = 0
        return answers

    with pytest.raises(UserError, match="no site annotates inner core"):
        run_rounds(job(), nothing, tmp_path / "run")


def test_a_job_is_read_as_data() -> None:
    text = '{"regions": ["a"], "sites": ["s"], "rounds": 1, "local_steps": 1, "settings": %s}'
    assert read_job(text % '{"learning_rate": 0.5}').settings == {"learning_rate": 0.5}
    for settings in ('{"learning_rate": "$__import__(1)"}', '{"output_dir": "x"}', '{"seed": {"_target_": "x"}}'):
        with pytest.raises(UserError, match="the job: "):
            read_job(text % settings)
    with pytest.raises(UserError, match="the job: not valid JSON"):
        read_job("{")
