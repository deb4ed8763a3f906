"""The settings of a training: what its record tells, what may not change on resume, what a teacher's training takes.

All of them read one dictionary, ``settings`` of ``configs/train.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conemos_bundle.errors import UsageError
from conemos_bundle.scales import spacings
from torch import nn

_IN_THE_DATALIST = {"fraction"}  # whose hash the identity has
# recorded by the checkpoint alone; records of runs have always been without
_NOT_RECORDED = {"film_weight_decay", "val_interval", "rotation_degrees", "flip_probability", "pretrained"}
_NOT_A_TEACHERS = {
    "method", "fraction", "seed", "sampling_rule", "regions_per_scan", "film_weight_decay", "pretrained",
}  # fmt: skip
ALWAYS_LEARN_ALL = {"PSL loss", "Multi-layer", "Multi-decoder", "Pseudo-labelling"}


def _without(settings: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def unchangeable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a training that is resumed must have as it began."""
    return _without(settings, _IN_THE_DATALIST)


def began_with(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says that its training began with; settings that came later are as they were before."""
    every = identity.get("method") in ALWAYS_LEARN_ALL
    return {"regions_per_scan": "all" if every else 1, "minutes": None, **identity}


def check_scaled(network: nn.Module, plan: Mapping[str, Any]) -> None:
    """A step of a configuration: refuse regions at their own scales with a network that knows of one.

    Args:
        network: that shall be trained.
        plan: of its input.

    Raises:
        UsageError: it has other spacings than the plan.
    """
    if network.arguments.get("spacings") != spacings(plan):  # type: ignore[union-attr, operator]
        raise UsageError(
            f"--scales: {type(network).__name__} has one spacing for all regions; leave it out, or train CoNeMOS or "
            "individual networks"
        )


def recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.json`` tells; of the time, where it was what ended the training."""
    return _without(settings, _NOT_RECORDED | ({"minutes"} if settings.get("minutes") is None else set()))


def of_teacher(settings: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """What the individual networks of pseudo-labeling are trained with, besides their own method, data and seed.

    Args:
        settings: ``settings`` of the configuration.
        others: ``other_settings`` of it.
    """
    return {**_without(settings, _NOT_A_TEACHERS), **others}
