"""The record of a run: what a finished training needs to be evaluated, used for prediction and packed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step
from conemos_bundle.names import folder_name
from conemos_bundle.networks.interface import CAME_LATER, unwrapped
from conemos_bundle.runs.record import RECORD, NetworkConfig, Run, Source, as_dictionary, read_run, sources_of
from conemos_bundle.runs.subjects import SUBJECTS, subjects_bytes
from conemos_bundle.runs.weights import CHECKPOINT, how_to_rebuild
from conemos_bundle.utils.records import one_line
from conemos_bundle.utils.version import __version__
from ignite.engine import Engine, Events
from pydantic import ValidationError
from torch import nn

logger = logging.getLogger(__name__)
PACKAGES = [
    "monai",
    "torch",
    "numpy",
    "nibabel",
    "pytorch-ignite",
    "itk-io",
    "scipy",
    "pandas",
    "pydantic",
    "pydicom",
    "fire",
    "matplotlib",
    "tensorboard",
    "tqdm",
]


def package_versions() -> dict[str, str]:
    """Versions of the packages that a run depends on, and of Python."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package).split("+")[0]
        except PackageNotFoundError:
            continue
    return versions


def recorded_versions() -> dict[str, str]:
    """The versions that a run's record names: this package's, and `package_versions`."""
    return {"conemos-bundle": __version__, **package_versions()}


def default_output_dir(datalist: Datalist) -> str:
    """``runs/<name of the data set>`` in the working directory."""
    return str(Path.cwd() / "runs" / folder_name(datalist.name, "run"))


def identity(datalist: Datalist, **settings: Any) -> dict[str, Any]:
    """What may not change when a run is resumed: the data set (as a hash) and ``settings``."""
    text = json.dumps(datalist.model_dump(exclude_none=True, exclude={"dataset_dir"}), sort_keys=True)
    return {"datalist": hashlib.sha256(text.encode()).hexdigest()[:16], **settings}


def machine(device: str | torch.device | None = None) -> str:
    """The machine in words: its processor and how many cores this process may use, or its GPU.

    Args:
        device: which of them; None: the GPU where there is one.
    """
    if torch.cuda.is_available() if device is None else torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.search(r"model name\s*: (.+)", information.read_text(encoding="utf-8"))
        name = found[1] if found else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, {torch.get_num_threads()} threads"


class RunRecord:
    """Handler of the trainer: writes ``run.json`` and ``subjects.json`` into the run's folder when training starts.

    Where the resolved configuration is given, ``config.json`` too (`conemos train` gives it).

    Args:
        output_dir: folder of the run.
        datalist: the data set.
        plan: see `plan_input`.
        network: the network; its class and arguments are recorded.
        settings: other values worth knowing (seed, steps, …), as JSON.
        inside: region to the one that it lies inside of and never leaves, in evaluation and prediction.
        config: the resolved configuration as JSON; bytes, since MONAI would evaluate what is in a text.
        before: folder of the model that the training begins with.
    """

    def __init__(
        self,
        output_dir: str,
        datalist: Datalist,
        plan: dict[str, Any],
        network: nn.Module,
        settings: dict[str, Any] | None = None,
        inside: dict[str, str] | None = None,
        config: bytes | None = None,
        before: Path | None = None,
    ) -> None:
        self.folder = Path(output_dir)
        self.before = before
        self.datalist = datalist
        self.config = config
        network = unwrapped(network)
        self.record = {
            "regions": datalist.regions,
            "inside": inside or {},
            "plan": plan,
            "network": {"_target_": f"conemos_bundle.networks.{type(network).__name__}", **network.arguments},  # type: ignore[dict-item]
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "settings": settings or {},
            "machine": machine(),
            "versions": recorded_versions(),
        }

    def attach(self, engine: Engine) -> None:
        """Write when training starts."""
        engine.add_event_handler(Events.STARTED, self.write)

    def write(self, engine: Engine) -> None:
        """Write the record and the configuration.

        Raises:
            UserError: a setting could not be read again, or the folder holds a model that no such training has made.
        """
        description = self.datalist.model_dump(include={"name", "description", "modality", "license", "reference"})
        told = {**self.record, "data": {**description, "annotated": annotated(self.datalist)}}
        if self.before is not None:
            told["began_with"] = [
                source.model_dump() for source in self._sources_before() if source != Source(**description)
            ]
        try:  # as it will be read
            record = Run.model_validate(json.loads(json.dumps(told)))
        except ValidationError as error:
            raise UserError(f"{self.folder / RECORD}: not written: {one_line(error)}") from error
        self._reject_another_model(record)
        files = {SUBJECTS: subjects_bytes(self.datalist, self.before), RECORD: record_bytes(record)}
        if self.config is not None:
            files["config.json"] = self.config
        for name, content in files.items():
            write_in_one_step(self.folder / name, partial(Path.write_bytes, data=content))

    def _sources_before(self) -> list[Source]:
        """The data of the weights that the training begins with; one that says nothing, where those do not say."""
        file = Path(self.before or "") / RECORD
        return sources_of(read_run(file)) if file.is_file() else [Source()]

    def _reject_another_model(self, record: Run) -> None:
        """Weights without a checkpoint are of a merged, grown, copied or imported model, which is not written over, or
        of this very training, killed before its first checkpoint.
        """
        if not (self.folder / "model.pt").exists() or (self.folder / CHECKPOINT).exists():
            return
        try:
            theirs, ours = as_dictionary(read_run(self.folder / RECORD)), as_dictionary(record)
            same = all(theirs.get(key) == ours.get(key) for key in ("regions", "plan", "network", "settings"))
        except UserError:
            same = False
        if not same:
            raise UserError(
                f"{self.folder}: holds a model and no checkpoint of a training to go on with; pass another --output_dir"
            )


def annotated(datalist: Datalist) -> dict[str, dict[str, int]]:
    """How many scans each split has, and in how many of them each region is annotated."""
    return {
        split: {"scans": len(scans), **{r: sum(r in scan.annotated for scan in scans) for r in datalist.regions}}
        for split, scans in ((s, datalist.scans(s)) for s in ("training", "validation", "test"))
    }


def record_bytes(record: Run) -> bytes:
    """What ``run.json`` holds of a record."""
    return (json.dumps(as_dictionary(record), indent=4) + "\n").encode()


def read_record(weights: str | os.PathLike[str], datalist: Datalist | None = None) -> Run:
    """The record beside a model's weights.

    Args:
        weights: path of ``model.pt``.
        datalist: a data set that the model shall be used on.

    Raises:
        UserError: model.pt or run.json is missing or invalid, or the data set has none of the model's regions.
    """
    path = Path(weights).parent / RECORD
    if not Path(weights).is_file():
        hint = (
            how_to_rebuild(weights)
            or "train first, or name the folder of a run with --run (monai.bundle: its model.pt with --ckpt_path)"
        )
        raise UserError(f"{weights}: no such file; {hint}")
    record = read_run(path)
    regions = record.regions
    if datalist is not None:
        unknown = [region for region in datalist.regions if region not in regions]
        if len(unknown) == len(datalist.regions):
            raise UserError(f"the datalist names none of the model's regions ({', '.join(regions)})")
        if unknown:
            logger.warning(f"{path}: the model does not know {', '.join(unknown)} of the datalist: left out")
    return record


def network_difference(record: Run, network: nn.Module) -> tuple[str, Any, Any] | None:
    """The first argument in which a network differs from that of a record, and both values; None: none does.

    Raises:
        UserError: the record names no network of this package.
    """
    recorded = recorded_network(record)
    if type(recorded) is not type(network):
        return "network", type(recorded).__name__, type(network).__name__
    theirs, ours = ({**CAME_LATER, **each.arguments} for each in (recorded, network))  # type: ignore[dict-item]
    for name, value in theirs.items():
        if name != "film_init" and ours[name] != value:  # that one has no say once there are weights
            return name, value, ours[name]
    return None


def check_model(
    weights: str | os.PathLike[str], regions: Sequence[str], spacing: Sequence[float], network: nn.Module
) -> None:
    """Hold a configuration of inference against the record beside the weights, where there is one.

    Raises:
        UserError: the record says other regions, another order of them, another spacing or another network.
    """
    if not (Path(weights).parent / RECORD).is_file():
        return
    record = read_record(weights)
    differs = network_difference(record, network)
    if list(regions) != record.regions:
        differs = ("regions", record.regions, list(regions))
    elif any(abs(a - b) > 1e-3 * a for a, b in zip(record.plan.spacing, spacing, strict=True)):
        differs = ("spacing", record.plan.spacing, list(spacing))
    if differs is not None:
        name, theirs, ours = differs
        raise UserError(
            f"{weights}: its {name} is {theirs!r}, that of the configuration {ours!r}; "
            "'conemos predict --model RUN' takes all of them from the run"
        )


def recorded_network(record: Run) -> nn.Module:
    """The network of a record, with random weights.

    Raises:
        UserError: its arguments do not go together.
    """
    try:
        return record.network.build()
    except ValueError as error:
        raise UserError(f"the record's network: {error}") from error


def network_of(config: dict[str, Any]) -> nn.Module:
    """The network of a configuration's ``network_def``, with random weights.

    Raises:
        UserError: it is none of this package.
    """
    try:
        return NetworkConfig.model_validate(config).build()
    except ValidationError as error:
        raise UserError(f"network_def: {one_line(error)}") from error
    except ValueError as error:
        raise UserError(f"network_def: {error}") from error
