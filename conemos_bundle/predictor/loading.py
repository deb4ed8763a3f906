"""A model as users name it: a bundle, a finished run, a TorchScript file, or nothing for the one of this package."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.inferers import asked_regions
from conemos_bundle.inferers.inference import MODES
from conemos_bundle.networks.interface import RegionNetwork
from conemos_bundle.predictor.engines import OpenVINONetwork, check_engine
from conemos_bundle.runs.metadata import read_metadata
from conemos_bundle.runs.record import RECORD
from conemos_bundle.runs.run import check_model, read_record
from conemos_bundle.runs.weights import fit_weights, load_weights
from conemos_bundle.utils.paths import bundle_folder
from conemos_bundle.utils.records import read_json
from conemos_bundle.volumes.fingerprints import file_stamps
from monai.bundle import ConfigParser
from monai.data import load_net_with_metadata

EXPORT = (
    "python -m monai.bundle ckpt_export network_def --filepath model.ts --ckpt_file models/model.pt "
    "--meta_file configs/metadata.json --config_file configs/inference.json"
)
# what the metadata of bundles say, and what DICOM calls it
MODALITIES = {"MR": "MR", "MRI": "MR", "CT": "CT", "PT": "PT", "PET": "PT", "US": "US"}


@dataclass(frozen=True)
class Model:
    """A model with the configuration that says how to use it.

    Args:
        parser: of inference.json and metadata.json.
        weights: the file: ``model.pt``, or the TorchScript file.
        regions: names of the K regions.
        name: of the bundle, or of the run's data set.
        version: of the bundle.
        modality: DICOM's word for the scans that it was trained on; None where that is not known.
        temperature: what logits are divided by for probabilities; 1 where no calibration is known.
        network: a TorchScript, which comes with its weights; None: the configuration says which.
    """

    parser: ConfigParser
    weights: Path
    regions: list[str]
    name: str
    version: str
    modality: str | None
    temperature: float = 1.0
    network: torch.nn.Module | None = None


def torch_device(name: str | None = None) -> torch.device:
    """The device of that name; None: a GPU where there is one.

    Raises:
        UserError: PyTorch knows none, or has it not on this machine.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(1, device=str(name)).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not available here; use cpu, or leave it out") from error


def load_model(
    model: str | os.PathLike[str] | None = None,
    device: str | None = None,
    mode: str | None = None,
    regions: str | Sequence[str] | None = None,
    engine: str = "torch",
) -> tuple[Model, torch.nn.Module]:
    """A model and its network, with weights, in evaluation mode; the options are checked before any weights are read.

    Args:
        model: see `Predictor.load`, as for the others.
        device: where the network is put.
        mode: of `infer`; None: what the configuration says.
        regions: those that will be asked for.
        engine: what computes the network.

    Raises:
        UserError: there is no such device, mode, model, region or engine, the engine does not fit device or model, or
            the weights cannot be read, do not fit or change while they are read.
    """
    check_engine(engine)
    place = torch_device("cpu" if device is None and engine != "torch" else device)
    if engine != "torch" and place.type != "cpu":
        raise UserError(f"--engine {engine}: computes on a CPU; leave out --device {device}, or --engine")
    if mode is not None and mode not in MODES:
        raise UserError(f"--mode {mode!r}: use one of {', '.join(MODES)}")
    found = find_model(model)
    asked_regions(regions, found.regions)
    if engine != "torch" and found.network is not None:
        raise UserError(f"--engine {engine}: takes no TorchScript; give the bundle or the run, or leave out --engine")
    parser = found.parser
    parser["device"], parser["ckpt_path"] = place, found.weights
    parser["output_dir"] = Path(tempfile.gettempdir())  # needed to build the saver, which is then left out
    if mode is not None:
        parser["mode"] = mode
    stamps = file_stamps(str(found.weights.absolute()))
    network = found.network
    if network is None:
        network = parser.get_parsed_content("network_def")
        assert isinstance(network, torch.nn.Module)
        if engine != "torch" and not isinstance(network, RegionNetwork):
            raise UserError(f"--engine {engine}: no network of this package, {type(network).__name__}; leave it out")
        check_model(found.weights, found.regions, parser.get_parsed_content("spacing"), network)
        fit_weights(network, load_weights(found.weights), found.weights)
    if "made_by" in parser:
        parser.get_parsed_content("made_by")  # takes the weights' hash
    if file_stamps(str(found.weights.absolute())) != stamps:
        raise UserError(f"{found.weights}: changed while it was read; start again")
    network = network.to(place).eval()
    return found, OpenVINONetwork(network) if engine == "openvino" else network  # type: ignore[arg-type]


def find_model(model: str | os.PathLike[str] | None = None) -> Model:
    """A model without its weights, but for a TorchScript's; arguments as for `Predictor.load`.

    Raises:
        UserError: there is no such model, or its record or configuration cannot be read.
    """
    path = bundle_folder() if model is None else Path(model).expanduser()
    if (path / "configs" / "inference.json").is_file():
        return _of_bundle(path)
    if (path / "model.pt").is_file():
        return _of_run(path)
    if not path.is_dir() and path.suffix != ".ts" and not path.is_file():
        raise UserError(f"{path}: neither a bundle (configs/inference.json) nor a finished run (model.pt)")
    scripts = sorted(path.rglob("*.ts")) if path.is_dir() else [path]
    if len(scripts) != 1:
        raise UserError(
            f"{path}: neither a bundle (configs/inference.json) nor a finished run (model.pt) nor a folder of one .ts "
            "file"
        )
    return _of_torchscript(scripts[0])


def _of_bundle(folder: Path) -> Model:
    weights = folder / "models" / "model.pt"
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; this bundle has no weights")
    configs = folder / "configs"
    metadata, regions = read_metadata(configs / "metadata.json")
    parser = _parser(read_json(configs / "inference.json", hint="; download the bundle again"), metadata)
    parser["bundle_root"], parser["region_names"] = folder, regions
    recorded = read_record(weights).temperature if weights.with_name(RECORD).is_file() else None
    return Model(parser, weights, regions, **_told(metadata), temperature=recorded or 1.0)


def _of_run(folder: Path) -> Model:
    """The record is data: values of it stand where inference.json has some, and are held against its schema."""
    weights, configs = folder / "model.pt", bundle_folder() / "configs"
    record = read_record(weights)
    metadata, _ = read_metadata(configs / "metadata.json")
    parser = _parser(read_json(configs / "inference.json"), metadata)
    settings = {
        "bundle_root": bundle_folder(),
        "region_names": record.regions,
        "inside": record.inside,
        "scales": record.plan.scales_of_regions,
        "spacing": record.plan.spacing,
        "window": record.plan.patch_size,
        "network_def": record.network.as_config,
    }
    for name, value in settings.items():
        parser[name] = value
    modality = MODALITIES.get(record.data.modality.upper())
    name = record.data.name or folder.name
    return Model(parser, weights, record.regions, name, "unknown", modality, record.temperature or 1.0)


def _of_torchscript(file: Path) -> Model:
    """Its name does not matter (the Deploy SDK's operator loses the configuration of a renamed one)."""
    if not file.is_file():
        raise UserError(f"{file}: no such model; give a .ts file or a bundle's folder")
    try:
        network, metadata, extra = load_net_with_metadata(str(file), torch.device("cpu"), ("inference.json",))
    except json.JSONDecodeError as error:  # of metadata that are not there
        raise UserError(f"{file}: holds no configuration; export it with: {EXPORT}") from error
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{file}: no TorchScript file, or a damaged one; make it with: {EXPORT}") from error
    if not extra["inference.json"] or "network_data_format" not in metadata:
        raise UserError(f"{file}: holds no configuration; export it with: {EXPORT}")
    parser = _parser(json.loads(extra["inference.json"]), metadata)
    regions = list(parser.get_parsed_content("region_names"))
    return Model(parser, file, regions, **_told(metadata), network=network)


def _parser(inference: dict[str, Any], metadata: dict[str, Any]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_meta(metadata)
    parser.read_config(inference)
    return parser


def _told(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the metadata of a bundle say of it."""
    image = metadata["network_data_format"].get("inputs", {}).get("image", {})
    return {
        "name": str(metadata.get("name", "CoNeMOS")),
        "version": str(metadata.get("version", "unknown")),
        "modality": MODALITIES.get(str(image.get("modality", "")).upper()),
    }
