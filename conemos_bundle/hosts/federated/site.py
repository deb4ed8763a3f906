"""What happens at a site: it looks at its scans, trains on them, validates on them."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from conemos_bundle.data.datalist import Datalist, read_datalist, scan_items, scans_folder
from conemos_bundle.data.plan import look_at_scans
from conemos_bundle.data.refuse import validate_datalist
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.federated.job import Job, config_files, config_settings
from conemos_bundle.hosts.federated.messages import Message
from conemos_bundle.runs.weights import check_weights
from conemos_bundle.training.schedule import go_to_step
from conemos_bundle.training.set_epoch import SetEpoch
from conemos_bundle.training.workflows import quiet_workflow
from conemos_bundle.utils.known import known_voxels
from conemos_bundle.utils.paths import bundle_folder
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler
from torch import nn


class SiteTraining(NamedTuple):
    """The parts of a site's training, as train.json makes them, and the masks of each region (K) that it has seen."""

    network: nn.Module
    trainer: SupervisedTrainer
    evaluator: SupervisedEvaluator | None
    optimizer: torch.optim.Optimizer
    scheduler: Any
    masks: torch.Tensor
    steps: int


def read_site(datalist: str | Path, regions: list[str], dataset_dir: str | None = None) -> tuple[Datalist, Path]:
    """A site's datalist and the folder where its paths start; what costs no time is checked.

    Args:
        datalist: its file.
        regions: of all sites, in order; the site need not annotate all of them.
        dataset_dir: the folder; None: what the datalist says.

    Raises:
        UserError: it cannot be read, or names other regions, or in another order, or `validate_datalist` finds more.
    """
    data = read_datalist(datalist)
    if data.regions != regions:
        differ = sorted(set(data.regions) ^ set(regions))
        how = f"{differ[0]!r} is in one of them alone" if differ else "the order differs"
        raise UserError(
            f"{datalist}: its regions are {', '.join(data.regions)}, those of the federation {', '.join(regions)} "
            f"({how}); write the same list into each site's datalist"
        )
    folder = scans_folder(datalist, data, dataset_dir)
    annotated = [region for region in regions if any(region in scan.annotated for scan in data.training)]
    if not annotated:
        raise UserError(f"{datalist}: no training scan has an annotated region; leave this site out")
    validate_datalist(data.model_copy(update={"regions": annotated}), str(folder))
    return data, folder


def describe(datalist: str | Path, regions: list[str], dataset_dir: str | None = None) -> Message:
    """What a site tells of its scans, see `numbers_of`.

    Raises:
        UserError: what `read_site` says, or a scan cannot be read.
    """
    data, folder = read_site(datalist, regions, dataset_dir)
    look = look_at_scans(scan_items(data, "training", folder))
    splits = [[scan for scan in data.scans(split) if scan.masks] for split in ("training", "validation")]
    return {
        "channels": np.array(look.in_channels),
        "spacing": np.array(look.spacing),
        "extent": np.array(look.extent),
        "scans": np.array([len(scans) for scans in splits]),
        "annotated": np.array([[sum(r in scan.annotated for scan in scans) for r in regions] for scans in splits]),
    }


def prepare(
    datalist: str | Path, job: Job, site: str, folder: str | Path, dataset_dir: str | None = None
) -> SiteTraining:
    """The training of a site; its scans are read and checked here.

    Args:
        datalist: of the site.
        job: with its plan.
        site: its name; its draws are its own.
        folder: for what the site writes; held against other processes.
        dataset_dir: where the datalist's relative paths start; None: what the datalist says.

    Raises:
        UserError: what `read_site` says, or something in the scans is wrong.
    """
    _, scans = read_site(datalist, job.regions, dataset_dir)
    configs = bundle_folder() / "configs"
    workflow = quiet_workflow(
        workflow_type="train",
        config_file=[str(file) for file in config_files(job)],
        meta_file=str(configs / "metadata.json"),
        logging_file=False,
        bundle_root=str(bundle_folder()),
    )
    seed = job.settings.get("seed", 0)
    own = {
        "datalist": Path(datalist), "output_dir": Path(folder),
        "seed": (seed if isinstance(seed, int) else 0) + zlib.crc32(site.encode()) % 10**6,
        "dataset_dir": scans, "train::handlers": [], "validate::handlers": [],
        # `read_site` has done it; here it would ask for every region at each site
        "initialize": [step for step in workflow.parser["initialize"] if "validate_datalist" not in str(step)],
    }  # fmt: skip
    for name, value in {**config_settings(job), **own}.items():
        workflow.parser[name] = value
    logging.getLogger("ignite").setLevel(logging.WARNING)
    workflow.initialize()
    get = workflow.parser.get_parsed_content
    masks = torch.zeros(len(job.regions), dtype=torch.long)
    trainer, scheduler = get("train::trainer"), get("lr_scheduler")
    SetEpoch(get("train::sampler")).attach(trainer)
    LrScheduleHandler(scheduler, print_lr=False, epoch_level=False).attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, count_masks, masks)
    evaluator = get("validate::evaluator") if get("validate::dataset::data") else None
    return SiteTraining(get("network"), trainer, evaluator, get("optimizer"), scheduler, masks, job.local_steps)


def count_masks(engine: Engine, masks: torch.Tensor) -> None:
    """Handler after a step: add the (image, region) masks that it learned from to ``masks`` (K)."""
    known, _ = known_voxels(engine.state.output["label"])  # type: ignore[index]
    learned = known.flatten(2).any(2).cpu()  # (B, M)
    regions = engine.state.batch.get("regions")  # type: ignore[union-attr]
    regions = torch.arange(learned.shape[1]).expand_as(learned) if regions is None else regions.cpu()
    masks += torch.bincount(regions[learned & (regions >= 0)], minlength=len(masks))


def take_weights(network: nn.Module, weights: Mapping[str, Any]) -> None:
    """Give a network the weights that the server sent, as arrays.

    Raises:
        UserError: they are another network's, or not finite.
    """
    try:
        network.load_state_dict(check_weights({name: torch.from_numpy(np.array(w)) for name, w in weights.items()}))
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError("the server's weights do not fit this site's network; install the same version") from error


def evaluate(training: SiteTraining, weights: Mapping[str, Any]) -> Message:
    """The Dice per region (K) of these weights on the site's validation scans; NaN where none has the region.

    Raises:
        UserError: what `take_weights` says.
    """
    take_weights(training.network, weights)
    dice = np.full(len(training.masks), np.nan)
    if training.evaluator is not None:
        training.evaluator.run()
        details = training.evaluator.state.metric_details["val_mean_dice"]  # type: ignore[attr-defined]
        dice = details.nanmean(dim=0).cpu().double().numpy()
    return {"dice": dice}


def train(training: SiteTraining, weights: Mapping[str, Any], round_number: int, with_dice: bool = True) -> Message:
    """Train for a round, from these weights: what is sent depends on them, the round and the site alone.

    Args:
        training: of the site; its optimizer begins anew, the learning rate goes on.
        weights: of the server.
        round_number: from 0.
        with_dice: evaluate them first; else the Dice is NaN.

    Returns:
        the weights afterwards, and the numbers that `numbers_of` names.

    Raises:
        UserError: what `take_weights` says.
    """
    message = evaluate(training, weights) if with_dice else {"dice": np.full(len(training.masks), np.nan)}
    take_weights(training.network, weights)
    training.optimizer.state.clear()
    training.masks.zero_()
    go_to_step(training.scheduler, round_number * training.steps)
    state = training.trainer.state
    state.epoch, state.iteration = round_number, round_number * training.steps
    state.max_epochs = round_number + 1
    training.trainer.run()
    message |= {"steps": np.array(training.steps), "masks": training.masks.numpy().copy()}
    return message | {name: w.detach().cpu().numpy().copy() for name, w in training.network.state_dict().items()}
