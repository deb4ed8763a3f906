"""MONAI Label's tasks beside inference: training, and what to annotate next. They need monailabel."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError, exit_with, find_user_error
from conemos_bundle.files import one_writer, part_folder
from conemos_bundle.growing.model import read_growing
from conemos_bundle.hosts.label.answers import rounded_confidences
from conemos_bundle.hosts.label.fine_tuning import fine_tune, read_history, trained_on
from conemos_bundle.hosts.label.jobs import in_job, in_server
from conemos_bundle.hosts.label.new_region import LEAST_SCANS, asked_region, teach
from conemos_bundle.hosts.label.requests import number, refuse, reject_bad_values
from conemos_bundle.hosts.label.served_model import ServedModel
from conemos_bundle.hosts.label.submitted import annotated_regions, annotations_of, saved_annotations, unknown_names
from conemos_bundle.hosts.label.training_set import write_training_set
from conemos_bundle.hosts.label.uncertainty import least_confident
from conemos_bundle.runs.run import read_record
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.others.generic import device_list, name_to_device

logger = logging.getLogger(__name__)
CONFIDENCE = "region_confidence"


class _Training(TrainTask):
    """A training changes what the whole process goes by, so it is refused where the server runs: `Jobs` starts another.

    Args:
        served: the model.
        description: for the clients.
    """

    def __init__(self, served: ServedModel, description: str) -> None:
        super().__init__(description)
        self.served = served

    def stats(self) -> dict[str, Any]:
        """The last training, for the clients; ``error`` where the history cannot be read."""
        try:
            history = read_history(self.served.models)
        except UserError as error:
            return {"error": str(error)}
        return history[-1] if history else {}

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        """Train.

        Raises:
            fastapi.HTTPException: 400, with one line that says what to mend; in a job that line is all that it prints.
        """
        try:
            if in_server():
                raise UserError("a training needs a process of its own; start it without run_sync")
            with one_writer(self.served.models):
                entry = self._train(request, datastore)
        except Exception as error:
            user_error = find_user_error(error)
            if user_error is None:
                raise
            if in_job():
                exit_with(user_error)
            refuse(user_error)
        print(f"{'replaced' if entry['replaced'] else 'kept'}: {entry['reason']}", flush=True)
        return entry

    def config(self) -> dict[str, Any]:
        """The options that clients show."""
        raise NotImplementedError

    def _train(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        """Each task's own: train, and say what became of the model."""
        raise NotImplementedError

    def _numbers(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What both trainings ask for, checked: the keyword arguments of `fine_tune` and `teach`."""
        defaults = self.config()
        reject_bad_values({"device": request.get("device")}, defaults["device"], ())
        return {
            "device": torch.device(name_to_device(request.get("device") or "cuda")),
            "max_epochs": int(number(request, "max_epochs", defaults["max_epochs"], 1, 10**5)),
            "steps_per_epoch": int(number(request, "steps_per_epoch", defaults["steps_per_epoch"], 1, 10**5)),
            "learning_rate": number(request, "learning_rate", defaults["learning_rate"], 0, 1),
        }

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A folder for a training set, in the app's ``training``; nothing is left of a training that did not end."""
        trainings = self.served.models.parents[2] / "training"
        with part_folder(trainings) as part:
            folder = part / time.strftime("%Y%m%d-%H%M%S")
            folder.mkdir()
            yield folder
            kept = trainings / folder.name
            while kept.exists():
                kept = kept.with_name(f"{kept.name}_")
            os.replace(folder, kept)


class RegionTrainTask(_Training):
    """Train a served model on what annotators saved; see `fine_tune`."""

    def __init__(self, served: ServedModel) -> None:
        super().__init__(served, "Train on the regions that annotators saved; a worse model is not served")

    def config(self) -> dict[str, Any]:
        """The options that clients show."""
        return {
            "device": device_list(),
            "max_epochs": 10,
            "steps_per_epoch": 50,
            "learning_rate": 0.0001,
            "val_split": 0.2,
            "pretrained": True,
        }

    def _train(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        numbers, models = self._numbers(request), self.served.models
        fraction = number(request, "val_split", self.config()["val_split"], 0, 1)
        pretrained = request.get("pretrained", True) not in (False, "false", "False")
        before, spacing = trained_on(models), read_record(models / "model.pt").plan.spacing
        with self._folder() as folder:
            saved = saved_annotations(self.served, datastore)
            unannotated = write_training_set(folder, saved, self.served.region_names, spacing, fraction, before)
            return fine_tune(models, folder, unannotated, pretrained=pretrained, **numbers)


class NewRegionTask(_Training):
    """Teach a served model a region that it does not know; see `teach`."""

    def __init__(self, served: ServedModel) -> None:
        super().__init__(served, "Teach the model a region that it does not know; its others stay as they are")

    def config(self) -> dict[str, Any]:
        """The options that clients show."""
        return {
            "device": device_list(),
            "region": "",
            "max_epochs": 20,
            "steps_per_epoch": 50,
            "learning_rate": 0.01,
            "val_split": 0.2,
            "least_dice": 0.5,
        }

    def _train(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        numbers, served = self._numbers(request), self.served
        fraction = number(request, "val_split", self.config()["val_split"], 0, 1)
        least_dice = number(request, "least_dice", self.config()["least_dice"], 0, 1)
        region = asked_region(request.get("region"), served.region_names, lambda: unknown_names(served, datastore))
        spacing = read_growing(served.models).record.plan.spacing  # or it cannot grow
        saved = annotations_of(region, served, datastore)
        if len(saved) < LEAST_SCANS:
            raise UserError(
                f"region: {region} is drawn in {len(saved)} of the submitted labels; draw it in {LEAST_SCANS} scans at "
                "least, one to learn from and one to judge by"
            )
        with self._folder() as folder:
            write_training_set(folder, saved, [region], spacing, fraction, trained_on(served.models))
            return teach(served.folder, folder, region, least_dice=least_dice, **numbers)


def _confidence(datastore: Any, name: str) -> dict[str, Any]:
    """What `_score` and the strategy wrote to a scan's information, where clients may write too: else nothing."""
    told = datastore.get_image_info(name).get(CONFIDENCE)
    told = told if isinstance(told, dict) else {}
    known: dict[str, Any] = {"model": told["model"]} if isinstance(told.get("model"), int) else {}
    for key in ("regions", "served"):
        numbers = told.get(key)
        if isinstance(numbers, dict) and all(isinstance(n, int | float) and n == n for n in numbers.values()):
            known[key] = numbers
    return known


def _score(served: ServedModel, datastore: Any, most: int) -> tuple[int, int]:
    """Write the confidence of each region to the information of scans that lack the present model's.

    Returns:
        numbers of scans that were segmented and that are left.
    """
    model = os.stat(served.models / "model.pt").st_mtime_ns // 10**6
    infos = {name: _confidence(datastore, name) for name in sorted(datastore.list_images())}
    outdated = [name for name, info in infos.items() if info.get("model") != model]
    outdated.sort(key=lambda name: "model" in infos[name])  # those without any score first
    for name in outdated[:most]:
        try:
            confidence = rounded_confidences(served(datastore.get_image_uri(name)))
        except UserError as error:
            logger.warning(f"no confidence: {error}")
            confidence = {}
        datastore.update_image_info(name, {CONFIDENCE: {**infos[name], "model": model, "regions": confidence}})
    return len(outdated[:most]), len(outdated[most:])


def _max_scans(request: Mapping[str, Any], default: int, least: int) -> int:
    """How many scans a request lets us segment.

    Raises:
        fastapi.HTTPException: 400, where it is no number.
    """
    try:
        return int(number(request, "max_scans", default, least, 10**6))
    except UserError as error:
        refuse(error)


class RegionScoring(ScoringMethod):
    """How sure the model is of each region of each scan; `LeastConfidentRegion` reads it."""

    def __init__(self, served: ServedModel) -> None:
        super().__init__("Confidence of the model, per scan and region")
        self.served = served

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, int]:
        """Segment the scans that the present model has not been asked about."""
        scored, left = _score(self.served, datastore, _max_scans(request, 10**6, 1))
        return {"scored": scored, "left": left}


class LeastConfidentRegion(Strategy):
    """Propose the scan and the region that the model is least sure of, and that nobody has annotated."""

    def __init__(self, served: ServedModel) -> None:
        super().__init__("The scan and the region that the model is least sure of")
        self.served = served

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any] | None:
        """The scan (``id``), the ``region`` and the model's ``confidence``; None where all is annotated.

        Scans without a score are segmented first, at most ``max_scans`` of them: `RegionScoring` does all.
        """
        _score(self.served, datastore, _max_scans(request, 10, 0))
        infos = {name: _confidence(datastore, name) for name in datastore.list_images()}
        regions = self.served.region_names
        confidences = {
            name: {region: told for region, told in info["regions"].items() if region in regions}
            for name, info in infos.items()
            if "regions" in info
        }
        annotated = annotated_regions(self.served, datastore)
        proposed = {name: info.get("served", {}) for name, info in infos.items()}
        found = least_confident(confidences, annotated, proposed, time.time())
        if found is None:
            return None
        name, region = found
        told = {**infos[name], "served": {**proposed[name], region: time.time()}}
        datastore.update_image_info(name, {CONFIDENCE: told})
        logger.info(f"annotate {region} in {name}: confidence {confidences[name][region]}")
        return {
            "id": name,
            "region": region,
            "confidence": confidences[name][region],
            "annotated": annotated.get(name, []),
            "not_scored": len(infos) - len(confidences),
        }
