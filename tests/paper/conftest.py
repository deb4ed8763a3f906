"""Finished runs that nobody trained: folders with the files that the report reads, and known numbers in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conemos_bundle.evaluation.slices import write_slices

NETWORKS = {
    "Individual networks": "IndividualNetworks",
    "Multi-layer": "MultiLayer",
    "Multi-decoder": "MultiDecoder",
    "DoDNet": "DoDNet",
    "CoNeMOS": "FiLMUNet",
    "Mean teacher": "FiLMUNet",
}
SHAPE = (40, 48)


def write_run(
    folder: Path,
    dice: Mapping[str, Sequence[float]],
    method: str = "CoNeMOS",
    dataset: str = "toy",
    scans: Sequence[str] | None = None,
    n_conditioned: int | None = None,
    epochs: int = 4,
    done: int | None = None,
    slices: bool = False,
    masks: int | None = None,
    **settings: Any,
) -> Path:
    """Write a run with a Dice per region and scan; SD95 is ten times what lacks to 1, in voxels of 2 mm.

    Args:
        folder: the run's folder.
        dice: for each region its Dice in each scan; NaN where the reference is empty.
        method: name of the method.
        dataset: name of the data set.
        scans: names of the scans; default: 000, 001, ….
        n_conditioned: of CoNeMOS's network.
        epochs: epochs planned.
        done: epochs done; 0: no ``curve.csv``; default: all.
        slices: whether to write ``slices.npz``.
        masks: seen per step; None: a run that did not count them.
        settings: ``seed``, ``fraction``, ``steps_per_epoch``, ``batch_size``.
    """
    target = NETWORKS.get(method, "UNet")
    arguments = {"num_regions": len(dice), "channels": [2, 4], "convs_per_level": 2}
    if target == "FiLMUNet":
        arguments["n_conditioned"] = n_conditioned
    record = {
        "regions": list(dice),
        "plan": {"in_channels": 1, "spacing": [2.0, 2.0, 2.0], "patch_size": [16, 16, 8]},
        "network": {"_target_": f"conemos_bundle.networks.{target}", **arguments},
        "parameters": 1_500_000 + len(method),
        "settings": {
            "method": method,
            "fraction": 1.0,
            "seed": 0,
            "max_epochs": epochs,
            "steps_per_epoch": 10,
            "batch_size": 2,
            **settings,
        },
        "machine": "a machine, 2 cores",
        "versions": {"torch": "2.9.9"},
        "data": {"name": dataset, "description": "synthetic scans"},
    }
    evaluation = folder / "evaluation_test"
    evaluation.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    names = [f"{i:03}" for i in range(len(next(iter(dice.values()))))] if scans is None else scans
    rows = [
        (scan, scan, region, value, 20 * (1 - value), 10 * (1 - value), 5.0, 5.0)
        for i, scan in enumerate(names)
        for region, values in dice.items()
        for value in [values[i]]
    ]
    columns = ["scan", "subject", "region", "dice", "sd95_mm", "sd95_voxels", "reference_ml", "predicted_ml"]
    pd.DataFrame(rows, columns=columns).to_csv(evaluation / "per_scan.csv", index=False)
    epochs_done = epochs if done is None else done
    if epochs_done:
        steps = [10 * (epoch + 1) for epoch in range(epochs_done)]
        curve: dict[str, Any] = {"epoch": range(1, epochs_done + 1), "step": steps}
        if masks is not None:
            curve["masks"] = [masks * step for step in steps]
        curve |= {"seconds": [360.0 * step for step in steps], "loss": 0.5, "learning_rate": 0.001}
        best = float(np.nanmean(np.concatenate([list(values) for values in dice.values()] + [[0.5]])))
        validation = [None, *(best * (1 - 0.5**i) for i in range(1, epochs_done))]
        pd.DataFrame({**curve, "validation_dice": validation}).to_csv(folder / "curve.csv", index=False)
    if slices:
        write_slices(evaluation / "slices.npz", _slices(names, dice))
    return folder


@pytest.fixture(name="write_run", scope="session")
def _write_run() -> Callable[..., Path]:
    return write_run


def _slices(scans: Sequence[str], dice: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """A ball of its own a scan and region; the worse its Dice, the farther the prediction is moved."""
    rows, columns = np.indices(SHAPE)
    random = np.random.default_rng(0)
    result = {}
    for k, (region, values) in enumerate(dice.items()):
        for i, (scan, value) in enumerate(zip(scans, values, strict=True)):
            radius, center = 4 + 2 * k + i % 3, (18 + i % 4, 22 - i % 4)
            reference = np.hypot(rows - center[0], columns - center[1]) < radius
            moved = 0 if np.isnan(value) else round(2 * radius * (1 - value))
            image = np.clip(60 + 110 * reference + random.normal(0, 20, SHAPE), 0, 255).astype(np.uint8)
            parts = {"image": image, "reference": reference, "prediction": np.roll(reference, moved, axis=1)}
            result[scan, region] = {**parts, "spacing": np.array([2.0, 2.0])}
    return result
