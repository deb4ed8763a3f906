"""The server's side: plan, rounds, the best weights, and the run folder that comes of them. It knows nothing of FLARE.

After each round ``federated.pt`` holds all that the next one needs: a server that was killed goes on from there, and
ends with the same weights, since a site's training depends on the weights that it gets, the round and itself alone.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conemos_bundle.data.plan import Look, plan_of
from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step
from conemos_bundle.hosts.federated.averaging import Contribution, average, mean_over_sites
from conemos_bundle.hosts.federated.film import keep_films
from conemos_bundle.hosts.federated.job import PLANNED, InputPlan, Job, config_files, config_settings
from conemos_bundle.hosts.federated.messages import Message, Shapes, Task, check_message
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.networks.region_order import region_owners
from conemos_bundle.runs.record import RECORD, Run
from conemos_bundle.runs.run import record_bytes, recorded_versions
from conemos_bundle.runs.weights import check_weights, load_tensors
from conemos_bundle.training.checkpoint import save_in_one_step
from conemos_bundle.training.defaults import most_voxels
from conemos_bundle.utils.records import one_line
from monai.bundle import ConfigParser
from pydantic import ValidationError
from torch import nn

STATE, ROUNDS = "federated.pt", "rounds.csv"
FARTHEST = 4.0  # one site's spacing is so many times another's: most often a unit is wrong
Ask = Callable[[Task, int, Job, Mapping[str, Any]], Mapping[str, Mapping[str, object]]]
logger = logging.getLogger(__name__)


def common_plan(job: Job, told: Mapping[str, Message]) -> InputPlan:
    """The network's input from what the sites have told, each counted by its scans, and the job's settings.

    Args:
        job: its settings may have ``spacing``, ``patch_size`` and ``most_voxels``.
        told: by site, what `describe` gave.

    Raises:
        UserError: sites differ in their channels, or by far in their spacing where the job gives none.
    """
    first, *others = sorted(told)
    for site in others:
        ours, theirs = (int(told[each]["channels"]) for each in (site, first))
        if ours != theirs:
            raise UserError(f"{site}: its scans have {ours} channel(s), those of {first} {theirs}")
        mine, its = (np.asarray(told[each]["spacing"], float) for each in (site, first))
        if job.settings.get("spacing") is None and not ((mine < FARTHEST * its) & (its < FARTHEST * mine)).all():
            raise UserError(
                f"{site}: its voxels are {mine.round(3).tolist()} mm, those of {first} {its.round(3).tolist()} mm; "
                "if that is so, pass --spacing"
            )

    def median(what: str) -> list[float]:
        each = np.asarray([told[site][what] for site in sorted(told)], float)
        scans = np.asarray([told[site]["scans"] for site in sorted(told)], int)
        return np.median(np.repeat(each, scans[:, 0], axis=0), axis=0).tolist()

    look = Look(int(told[first]["channels"]), median("spacing"), median("extent"))
    given: dict[str, Any] = {"most_voxels": most_voxels()}
    given.update({name: job.settings[name] for name in PLANNED if job.settings.get(name) is not None})
    try:
        return InputPlan.model_validate(plan_of(look, **given))
    except ValidationError as error:
        raise UserError(f"the plan of the input: {one_line(error)}") from error


def build_network(job: Job) -> nn.Module:
    """The network of a job with a plan, with random weights by its seed."""
    parser = ConfigParser(ConfigParser.load_config_files([str(file) for file in config_files(job)]))
    for name, value in config_settings(job).items():
        parser[name] = value
    parser["in_channels"], parser["num_regions"] = job.plan.in_channels, len(job.regions)  # type: ignore[union-attr]
    with torch.random.fork_rng():
        torch.manual_seed(parser.get_parsed_content("seed"))
        network: nn.Module = parser.get_parsed_content("network_def")
    return network


def run_rounds(job: Job, ask: Ask, folder: Path) -> None:
    """All rounds that are left, each saved; at the end ``model.pt`` and ``run.json``, as a training writes them.

    Args:
        job: without a plan, which is made of what the sites tell.
        ask: gives a task, the round, the job and weights to every site, and returns their messages by site.
        folder: of the run.

    Raises:
        UserError: sites do not go together, a message is no such thing, or the folder is another training's.
    """
    k = len(job.regions)
    told = _asked(ask, "describe", 0, job, {}, {})
    unknown = [region for i, region in enumerate(job.regions) if not any(m["annotated"][0, i] for m in told.values())]
    if unknown:
        raise UserError(f"no site annotates {', '.join(unknown)} in a training scan; leave it out of the regions")
    job = job.model_copy(update={"plan": common_plan(job, told)})
    network = build_network(job)
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    state = _begin_or_go_on(job, network, folder / STATE)
    owners = region_owners(network, network.state_dict())
    for number in range(state["round"], job.rounds + 1):
        task: Task = "train" if number < job.rounds else "evaluate"
        messages = _asked(ask, task, number, job, state["weights"], shapes)
        _note_dice(state, number, job, messages)
        if task == "train":
            contributions = {site: _contribution(site, messages[site], shapes, job.local_steps) for site in messages}
            state["weights"] = _next_weights(network, state["weights"], contributions, owners, job.region_wise, number)
            masks = [sum(each.masks[i] for each in contributions.values()) for i in range(k)]
            steps = sum(each.steps for each in contributions.values())
            state["rows"].append([number + 1, steps, *masks])
            state["round"] = number + 1
            save_in_one_step(state, folder / STATE)
    _finish(job, told, network, state, folder)


def _asked(
    ask: Ask, task: Task, number: int, job: Job, weights: Mapping[str, torch.Tensor], shapes: Shapes
) -> dict[str, Message]:
    """The messages of all sites, checked."""
    answers = ask(task, number, job, {name: weight.numpy() for name, weight in weights.items()})
    silent = [site for site in job.sites if site not in answers]
    if silent or len(answers) > len(job.sites):
        raise UserError(
            f"{task}: no answer of {', '.join(silent)}; its log says why, and the same again goes on from here"
        )
    return {site: check_message(message, task, len(job.regions), shapes) for site, message in answers.items()}


def _contribution(site: str, message: Message, shapes: Shapes, steps: int) -> Contribution:
    """What a site has learned, which counts for no more steps than it was asked for."""
    if int(message["steps"]) != steps:
        raise UserError(f"{site}: has made {int(message['steps'])} steps; {steps} were asked for")
    weights = {name: torch.from_numpy(np.ascontiguousarray(message[name])).reshape(shapes[name]) for name in shapes}
    return Contribution(weights, int(message["steps"]), message["masks"].tolist())


def _next_weights(
    network: nn.Module,
    before: Mapping[str, torch.Tensor],
    contributions: Mapping[str, Contribution],
    owners: Mapping[str, torch.Tensor],
    region_wise: bool,
    number: int,
) -> dict[str, torch.Tensor]:
    """The average, if a network can compute with it: one site whose training diverges must not spoil what is saved."""
    try:
        weights = average(before, contributions, owners, region_wise)
        if region_wise and isinstance(network, FiLMUNet):
            weights = keep_films(network, weights, contributions)
        return check_weights(weights)
    except (ValueError, torch.linalg.LinAlgError) as error:
        sizes = {s: max(float(w.abs().max()) for w in c.weights.values()) for s, c in contributions.items()}
        largest = max(sizes, key=sizes.__getitem__)
        raise UserError(
            f"round {number + 1}: the sites' weights have no average ({error}); those of {largest} are as large as "
            f"{sizes[largest]:.1g}. What was saved before stays; leave the site out, or lower --learning_rate"
        ) from error


def _identity(job: Job, network: nn.Module) -> str:
    return json.dumps({**job.model_dump(), "network": network.arguments}, sort_keys=True)


def _begin_or_go_on(job: Job, network: nn.Module, file: Path) -> dict[str, Any]:
    state: dict[str, Any] = {
        "job": _identity(job, network), "round": 0, "rows": [], "dice": {}, "best": None, "best_round": 0,
        "weights": network.state_dict(), "best_weights": None,
    }  # fmt: skip
    if not file.exists():
        return state
    try:
        saved = load_tensors(file)
        other = saved["job"] != state["job"]
        for weights in [] if other else [saved["weights"], saved["best_weights"] or saved["weights"]]:
            network.load_state_dict(check_weights(weights))
    except Exception as error:  # torch.load raises whatever it likes on a broken file
        raise UserError(f"{file}: cannot be read; remove it to start anew, or pass another --output") from error
    if other or saved.keys() != state.keys():
        raise UserError(f"{file}: belongs to a training with other sites, regions or settings; pass another --output")
    logger.info(f"goes on after round {saved['round']} of {job.rounds}")
    return dict(saved)


def _note_dice(state: dict[str, Any], number: int, job: Job, messages: Mapping[str, Message]) -> None:
    """The Dice of the weights of the rounds so far, which the sites tell one round later."""
    dice = mean_over_sites({site: message["dice"].tolist() for site, message in messages.items()})
    known = [value for value in dice if not math.isnan(value)]
    if number == 0 or not known:
        return
    mean = sum(known) / len(known)
    state["dice"][number] = [mean, *dice]
    each = ", ".join(f"{region} {value:.3f}" for region, value in zip(job.regions, dice, strict=True))
    logger.info(f"round {number}/{job.rounds}: validation Dice {mean:.4f} ({each})")
    if state["best"] is None or mean > state["best"]:
        state["best"], state["best_round"] = mean, number
        state["best_weights"] = {name: weight.clone() for name, weight in state["weights"].items()}


def _finish(job: Job, told: Mapping[str, Message], network: nn.Module, state: dict[str, Any], folder: Path) -> None:
    """Write the run folder: nothing in it is of one site, or of this machine's folders."""
    weights = state["best_weights"] if state["best_weights"] is not None else state["weights"]
    counts = {
        split: {
            "scans": sum(int(message["scans"][i]) for message in told.values()),
            **{r: sum(int(message["annotated"][i, j]) for message in told.values()) for j, r in enumerate(job.regions)},
        }
        for i, split in enumerate(("training", "validation"))
    }
    settings = {**job.settings, "rounds": job.rounds, "local_steps": job.local_steps, "sites": len(job.sites)}
    record = {
        "regions": job.regions,
        "plan": job.plan.model_dump(),  # type: ignore[union-attr]
        "network": {"_target_": f"conemos_bundle.networks.{type(network).__name__}", **network.arguments},  # type: ignore[dict-item]
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "settings": {**settings, "region_wise": job.region_wise, "best_round": state["best_round"]},
        "versions": recorded_versions(),
        "data": {"name": "federated", "annotated": counts},
    }
    run = Run.model_validate(json.loads(json.dumps(record)))
    header = ["round", "steps", *(f"masks_{r}" for r in job.regions), "dice", *(f"dice_{r}" for r in job.regions)]

    def write_rows(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(header)
            for row in state["rows"]:
                told_later = state["dice"].get(row[0], [math.nan] * (1 + len(job.regions)))
                table.writerow([*row, *("" if math.isnan(value) else round(value, 6) for value in told_later)])

    write_in_one_step(folder / ROUNDS, write_rows)
    write_in_one_step(folder / RECORD, partial(Path.write_bytes, data=record_bytes(run)))
    save_in_one_step(weights, folder / "model.pt")
