"""How much a training step costs with everything on, against the bare step of a plain UNet, in one run.

    python scripts/benchmark.py --datalist datalist.json --dataset_dir DATA

Rounds alternate between the two, so a machine that slows down slows both. Prints medians and their ratio, the samples
that augmentation makes a second, and what MONAI's Rand3DElasticd takes for the deformation that RandDeformd makes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import fire
import torch
from conemos_bundle.losses import RegionLoss
from conemos_bundle.networks import UNet
from conemos_bundle.training.tensorboard import loss_of
from conemos_bundle.transforms import RandDeformd
from conemos_bundle.utils.paths import bundle_folder
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.transforms import Rand3DElasticd


def bare_step(patch: list[int], batch: int, channels: int, regions: int, bfloat16: bool) -> Callable[[], None]:
    """Forward, loss, backward and update of a plain UNet of the same size, on one random batch in memory."""
    network = UNet(in_channels=channels, num_regions=regions, norm="instance")
    optimizer = torch.optim.Adam(network.parameters())
    loss = RegionLoss()
    image = torch.rand(batch, channels, *patch)
    target = (torch.rand(batch, regions, *patch) > 0.9).float()

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = network(image)
        optimizer.zero_grad(set_to_none=True)
        loss(logits.float(), target).backward()
        optimizer.step()

    return step


def seconds(function: Callable[[], Any], times: int) -> list[float]:
    """The seconds of each of ``times`` calls."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return taken


def main(datalist: str, dataset_dir: str, rounds: int = 6, steps: int = 15, num_workers: int = 0) -> None:
    """Run the benchmark.

    Args:
        datalist: a datalist.
        dataset_dir: where its paths start.
        rounds: how often to alternate.
        steps: training steps, and bare steps, a round.
        num_workers: processes that load and augment.
    """
    configs = bundle_folder() / "configs"
    workflow = ConfigWorkflow(
        workflow_type="train",
        config_file=str(configs / "train.json"),
        meta_file=str(configs / "metadata.json"),
        logging_file=False,
        bundle_root=str(bundle_folder()),
        datalist=Path(datalist),
        dataset_dir=Path(dataset_dir),
        max_epochs=rounds + 1,
        steps_per_epoch=steps,
        num_workers=num_workers,
        output_dir=Path(tempfile.mkdtemp()),
    )
    # the handlers of a step; those of an epoch (validation, checkpoint, record) are left out
    workflow.parser["train"]["handlers"] = [
        {"_target_": "conemos_bundle.training.SetEpoch", "sampler": "@train::sampler"},
        {"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler", "print_lr": False, "epoch_level": False},
        {"_target_": "conemos_bundle.training.Curve", "output_dir": "@output_dir", "optimizer": "@optimizer"},
        {"_target_": "conemos_bundle.training.Progress"},
        {"_target_": "TensorBoardStatsHandler", "log_dir": "@output_dir", "output_transform": loss_of},
    ]
    workflow.initialize()
    trainer, dataset = workflow.trainer, workflow.train_dataset
    plan = workflow.parser.get_parsed_content("plan")
    sampler = workflow.parser.get_parsed_content("train::sampler")
    batch, bfloat16 = (workflow.parser.get_parsed_content(name) for name in ("batch_size", "bfloat16"))
    bare = bare_step(plan["patch_size"], batch, plan["in_channels"], len(dataset.regions), bfloat16)
    seconds(bare, 3)
    full_times: list[float] = []
    bare_times: list[float] = []
    ratios: list[float] = []
    round_times: list[float] = []
    last = [time.perf_counter()]

    @trainer.on(Events.EPOCH_STARTED)
    def start(engine: Engine) -> None:
        round_times.clear()
        last[0] = time.perf_counter()

    @trainer.on(Events.ITERATION_COMPLETED)
    def step(engine: Engine) -> None:
        now = time.perf_counter()
        round_times.append(now - last[0])
        last[0] = now

    @trainer.on(Events.EPOCH_COMPLETED)
    def alternate(engine: Engine) -> None:
        taken = seconds(bare, steps)
        if engine.state.epoch > 1:  # the first round starts workers and warms up
            # the mean, not the median: a step that waits for its batch counts
            full_times.append(sum(round_times) / len(round_times))
            bare_times.append(sum(taken) / len(taken))
            ratios.append(full_times[-1] / bare_times[-1])

    workflow.run()
    draws = list(sampler)[:60]
    augmentation = seconds(lambda: dataset[draws.pop()], min(50, len(draws)))
    ranges = {"prob": 1.0, "keys": ["image", "label"]}
    ours = RandDeformd(patch_size=plan["patch_size"], rotation=[0.26] * 3, scaling=0.2, elastic_std=2.0, **ranges)
    theirs = Rand3DElasticd(
        sigma_range=(5, 7), magnitude_range=(0, 250), spatial_size=plan["patch_size"], rotate_range=[0.26] * 3,
        scale_range=[0.2] * 3, mode=["bilinear", "nearest"], padding_mode="zeros", **ranges,
    )  # fmt: skip
    pair = {"image": torch.rand(plan["in_channels"], *plan["patch_size"]), "label": torch.ones(1, *plan["patch_size"])}
    deforming = [seconds(partial(transform, pair), 10) for transform in (ours, theirs)]
    print(
        f"patch {plan['patch_size']}, batch {batch}, {'bfloat16' if bfloat16 else 'float32'}, {num_workers} worker(s)"
    )
    print(f"training step, everything on: {median(full_times):.3f} s (median of {rounds} rounds of {steps})")
    print(f"bare step of a plain UNet:    {median(bare_times):.3f} s")
    print(f"ratio: {median(ratios):.2f} (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    print(f"augmentation: {1 / median(augmentation):.0f} samples per second in one process")
    ours_ms, theirs_ms = (median(taken) * 1000 for taken in deforming)
    print(f"deformation of image and mask: RandDeformd {ours_ms:.1f} ms, MONAI's Rand3DElasticd {theirs_ms:.1f} ms")


if __name__ == "__main__":
    fire.Fire(main)
