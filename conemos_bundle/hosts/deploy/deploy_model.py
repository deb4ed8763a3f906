"""A model to run: a TorchScript file with its configuration in it, or a bundle's folder."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.inferers import asked_regions
from conemos_bundle.runs.model_files import model_settings, torch_device
from conemos_bundle.runs.weights import fit_weights, load_weights
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
    """A network with the configuration that says how to use it.

    Args:
        network: in evaluation mode, on ``parser``'s device.
        parser: of ``inference.json`` and ``metadata.json``; the regions asked for and the device are set.
        regions: the R regions asked for.
        region_names: all K.
    """

    network: torch.nn.Module
    parser: ConfigParser
    regions: list[str]
    region_names: list[str]

    @property
    def name(self) -> str:
        """The bundle's name."""
        return str(self.parser["_meta_"].get("name", "CoNeMOS"))

    @property
    def version(self) -> str:
        """The bundle's version."""
        return str(self.parser["_meta_"].get("version", "unknown"))

    @property
    def modality(self) -> str | None:
        """DICOM's word for the scans it was trained on; None where the metadata do not say."""
        told = self.parser["_meta_"]["network_data_format"]["inputs"]["image"].get("modality", "")
        return MODALITIES.get(str(told).upper())


def load_model(path: Path, regions: Sequence[str] | None = None, device: str | None = None) -> Model:
    """Load a model; its configuration is code and is run, so take models only from those you trust.

    The name of a TorchScript file does not matter (the SDK's operator loses the configuration of a renamed one).

    Args:
        path: a TorchScript file (``.ts``) of ``monai.bundle ckpt_export``, a bundle's folder, or a folder that holds
            one TorchScript file, as a MONAI Application Package has it.
        regions: the regions to segment; None: all.
        device: such as ``cpu`` or ``cuda:0``; None: a GPU where there is one.

    Raises:
        UserError: no such model, one without a configuration, an unknown region or an unavailable device.
    """
    wanted = torch_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if path.is_dir() and not (path / "configs" / "inference.json").is_file():
        scripts = sorted(path.rglob("*.ts"))
        if len(scripts) != 1:
            raise UserError(f"{path}: neither a bundle (configs/inference.json) nor a folder of one .ts file")
        path = scripts[0]
    parser, network = _from_folder(path) if path.is_dir() else _from_torchscript(path, wanted)
    names = parser["region_names"]
    region_names = list(names if isinstance(names, list) else parser.get_parsed_content("region_names"))
    # MONAI evaluates texts that begin with "$": only names that the model knows go in
    parser["regions"] = asked_regions(regions, region_names)
    parser["device"] = wanted
    parser["output_dir"] = Path(tempfile.gettempdir())  # needed to build the saver, which is then left out
    parser.parse(reset=True)
    if network is None:
        network = parser.get_parsed_content("network_def")
        weights = path / "models" / "model.pt"
        fit_weights(network, load_weights(weights), weights)
    return Model(network.to(wanted).eval(), parser, list(parser["regions"]), region_names)


def _from_folder(folder: Path) -> tuple[ConfigParser, None]:
    settings = model_settings(folder)  # checks the weights
    configs = folder / "configs"
    try:
        inference = json.loads((configs / "inference.json").read_text(encoding="utf-8"))
        metadata = json.loads((configs / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{configs}: its configuration cannot be read ({error}); download the bundle again") from error
    return _parser({**inference, **settings}, metadata), None


def _from_torchscript(file: Path, device: torch.device) -> tuple[ConfigParser, torch.nn.Module]:
    if not file.is_file():
        raise UserError(f"{file}: no such model; give a .ts file or a bundle's folder")
    try:
        network, metadata, extra = load_net_with_metadata(str(file), device, ("inference.json",))
    except json.JSONDecodeError as error:  # of metadata that are not there
        raise UserError(f"{file}: holds no configuration; export it with: {EXPORT}") from error
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{file}: no TorchScript file, or a damaged one; make it with: {EXPORT}") from error
    if not extra["inference.json"] or "network_data_format" not in metadata:
        raise UserError(f"{file}: holds no configuration; export it with: {EXPORT}")
    return _parser(json.loads(extra["inference.json"]), metadata), network


def _parser(inference: dict[str, Any], metadata: dict[str, Any]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_meta(metadata)
    parser.read_config(inference)
    return parser
