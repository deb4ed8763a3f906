"""`conemos info`: what is installed here, what the model knows, and which commands there are."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from json import dumps, loads
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UsageError, printable
from conemos_bundle.utils.nearest import check_path
from conemos_bundle.utils.paths import bundle_folder
from conemos_bundle.utils.version import __version__

_AT_LEAST = ("monai", "numpy", "torch")  # where the package itself is not installed, but lies on the path


def info(model: str | None = None, json: bool = False) -> None:
    """Show versions, the device, the model's regions and spacing, the commands, and where the files are.

    Nothing is segmented and no weights are read. What an extra would bring is shown as not installed.

    Args:
        model: a bundle's folder or that of a finished run; default: the hippocampus model of this package.
        json: print JSON, for programs: commands with their arguments and options, and the settings of training besides.

    Raises:
        UserError: there is no such model, or its record cannot be read.
    """
    folder = bundle_folder() if model is None else check_path(str(model), is_folder=True)
    is_bundle = (folder / "configs" / "inference.json").is_file()
    if not is_bundle and not (folder / "run.json").is_file():
        raise UsageError(f"{model}: neither a bundle (configs/inference.json) nor a finished run (run.json)")
    found = {
        "version": __version__,
        "python": platform.python_version(),
        "packages": _packages(),
        "model": _of_bundle(folder) if is_bundle else _of_run(folder),
        "device": _device(),
        "files": {
            "package": str(Path(__file__).resolve().parents[1]),
            "configs": str(bundle_folder() / "configs"),
            "weights": str(folder / "models" / "model.pt" if is_bundle else folder / "model.pt"),
        },
    }
    if json:
        print(dumps({**found, **_commands()}, indent=2, ensure_ascii=False))
    else:
        _print_table(found)


def _packages() -> dict[str, str | None]:
    """Of each package that this one needs, or an extra brings, its version; None where it is not installed."""
    try:
        texts = requires("conemos-bundle") or []
    except PackageNotFoundError:
        texts = list(_AT_LEAST)
    wanted = [text for text in texts if not re.search(r"extra == .test.", text)]
    names = {found[0].lower() for text in wanted if (found := re.match(r"[\w.-]+", text))}
    versions: dict[str, str | None] = {}
    for name in sorted(names):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def _of_bundle(folder: Path) -> dict[str, Any]:
    """What a bundle's files say, as data: nothing of them is run."""
    from conemos_bundle.runs.metadata import read_metadata
    from conemos_bundle.utils.records import read_json

    metadata, regions = read_metadata(folder / "configs" / "metadata.json")
    inference = read_json(folder / "configs" / "inference.json")
    inputs = metadata["network_data_format"].get("inputs")
    image = inputs.get("image") if isinstance(inputs, dict) else None
    image = image if isinstance(image, dict) else {}
    spacing = inference.get("spacing") if isinstance(inference, dict) else None
    return {
        "name": metadata.get("name"),
        "version": metadata.get("version"),
        "regions": regions,
        "spacing": spacing if isinstance(spacing, list) else None,  # what MONAI would compute stays unknown
        "channels": image.get("num_channels"),
        "modality": image.get("modality"),
    }


def _of_run(folder: Path) -> dict[str, Any]:
    from conemos_bundle.runs.record import read_run

    run = read_run(folder / "run.json")
    return {
        "name": run.data.name or folder.name,
        "version": None,
        "regions": run.regions,
        "spacing": list(run.plan.spacing),
        "channels": run.plan.in_channels,
        "modality": run.data.modality or None,
    }


def _device() -> dict[str, Any]:
    import torch
    from conemos_bundle.utils.device import best_device

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"default": str(best_device()), "gpus": gpus, "cores": cores}


def _commands() -> dict[str, Any]:
    from conemos_bundle.cli.app import COMMANDS
    from conemos_bundle.cli.commands import described_parameters
    from conemos_bundle.cli.settings import described_settings
    from conemos_bundle.utils.config_files import overlay_names

    commands = {name: {"help": does, **described_parameters(command)} for name, (command, does) in COMMANDS.items()}
    settings = {
        name: {"default": loads(default) if default else None, "help": told}
        for name, (default, told) in described_settings().items()
    }
    return {"commands": commands, "settings": settings, "overlays": overlay_names()}


def _print_table(found: dict[str, Any]) -> None:
    from conemos_bundle.cli.app import COMMANDS

    model, device = found["model"], found["device"]
    spacing = " × ".join(str(side).removesuffix(".0") for side in model["spacing"] or [])
    rows = [
        ("conemos", f"{found['version']}, Python {found['python']}"),
        ("device", f"{device['default']} ({', '.join(device['gpus']) or 'no GPU'}; {device['cores']} cores)"),
        ("model", " ".join(str(each) for each in (model["name"], model["version"]) if each)),
        ("regions", ", ".join(model["regions"])),
        ("spacing", f"{spacing} mm" if spacing else "unknown"),
        ("scans", f"{model['channels']} channel(s), {model['modality'] or 'modality unknown'}"),
        *found["files"].items(),
    ]
    for title, text in rows:
        print(f"{title:10} {printable(text)}")
    print("\npackages")
    width = max(map(len, found["packages"]))
    for name, number in found["packages"].items():
        print(f"  {name:{width}}  {number or 'not installed'}")
    print("\ncommands ('conemos COMMAND --help' has their options)")
    for name, (_, does) in COMMANDS.items():
        print(f"  {name:{width}}  {does}")
