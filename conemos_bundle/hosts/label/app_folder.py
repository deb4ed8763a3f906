"""The folder that MONAI Label serves: an app, and in it the bundle as MONAI Label wants it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.files import part_folder, sweep, write_in_one_step
from conemos_bundle.hosts.label.together import of_one_model
from conemos_bundle.runs.metadata import read_metadata
from conemos_bundle.runs.record import RECORD, Run, read_run
from conemos_bundle.utils.records import read_json

PACKAGE = Path(__file__).resolve().parents[2]
MAIN = '''"""Written by `conemos label-app`: MONAI Label looks in this file for a class of an app."""

from conemos_bundle.hosts.label.app import RegionApp  # noqa: F401
'''
# what a predictor and MONAI Label read of inference.json; the server brings the scans and writes the results
_READ = (
    "imports", "bundle_root", "device", "mode", "overlap", "bfloat16", "inside", "scales", "spacing", "window",
    "network_def", "preprocessing", "inferer", "postprocessing",
)  # fmt: skip
_TAKEN_FOR_OTHER_TASKS = ("deepedit", "deepgrow", "detection", "classification")


def served_config(
    config: dict[str, Any], region_names: Sequence[str], regions: Sequence[str] | None = None
) -> dict[str, Any]:
    """inference.json for MONAI Label: each request says which regions.

    Args:
        config: the bundle's inference.json.
        region_names: the K regions of the network.
        regions: what a bundle of fixed regions segments; None: the request says.

    Raises:
        UserError: the configuration has not the transforms that it should have.
    """
    served: dict[str, Any] = {key: config[key] for key in _READ if key in config}
    served["region_names"] = list(region_names)
    if regions is None:
        served["displayable_configs"] = {
            "_target_": "conemos_bundle.hosts.label.region_options",
            "region_names": "@region_names",
        }
    else:
        served["regions"] = list(regions)
    # bundles packed earlier: the grid of MONAI's Spacingd hangs on the affine's last digits
    before = [
        {**t, "_target_": "conemos_bundle.transforms.ResampleToSpacingd"} if t["_target_"] == "Spacingd" else t
        for t in config["preprocessing"]["transforms"]
    ]
    after = list(config["postprocessing"]["transforms"])
    targets = [t["_target_"].split(".")[-1] for t in after]
    if targets != ["Activationsd", "Invertd", "AsDiscreted", "SaveImageRegionsd"]:
        raise UserError(f"inference.json: postprocessing is {', '.join(targets)}; not of this version of the package")
    served["preprocessing"] = {"_target_": "Compose", "transforms": before}
    served["inferer"] = {key: value for key, value in config["inferer"].items() if key != "regions"}
    served["postprocessing"] = {"_target_": "Compose", "transforms": after[:-1]}
    return served


def served_metadata(metadata: dict[str, Any], regions: Sequence[str]) -> dict[str, Any]:
    """The metadata of a bundle that segments ``regions`` only, with the label map's values 1, 2, …."""
    served = _with_channels(metadata, regions)
    served["description"] = f"{', '.join(regions)} only. {metadata.get('description', '')}"
    return served


def grown_configs(
    config: Mapping[str, Any], metadata: Mapping[str, Any], record: Run
) -> tuple[dict[str, Any], dict[str, Any]]:
    """inference.json and metadata.json of a served model that was taught regions.

    Args:
        config: what inference.json was.
        metadata: what metadata.json was.
        record: of the model as it is now.
    """
    grown = {**config, "network_def": record.network.as_config, "region_names": list(record.regions)}
    return grown, _with_channels(metadata, record.regions)


def _with_channels(metadata: Mapping[str, Any], regions: Sequence[str]) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(metadata))
    output = changed["network_data_format"]["outputs"]["pred"]
    output["num_channels"] = len(regions)
    output["channel_def"] = {"0": "background", **{str(k + 1): region for k, region in enumerate(regions)}}
    return changed


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """What a configuration's file holds."""
    return (json.dumps(content, indent=4) + "\n").encode()


def write_app(bundle: Path, app: Path, name: str | None = None, region_bundles: bool = False) -> list[Path]:
    """Write the app folder of a bundle, or bring it up to date; a model that it holds already, trained or not, stays.

    Args:
        bundle: the bundle: ``configs/inference.json``, ``configs/metadata.json`` and ``models/model.pt``.
        app: the folder to write.
        name: the model's name in the clients; default: the bundle's.
        region_bundles: add a bundle per region, ``<name>_<region>``, which segments that region only: in 3D Slicer a
            run clears the segments that its model lists, so these leave each other's alone. They share one model file.

    Returns:
        the model folders.

    Raises:
        UserError: the folder is no bundle, or its name would make MONAI Label take it for another task.
    """
    for file in ("inference.json", "metadata.json"):
        if not (bundle / "configs" / file).exists():
            raise UserError(
                f"{bundle}: not a bundle ({bundle / 'configs' / file} is missing); 'conemos pack' makes one"
            )
    config = read_json(bundle / "configs" / "inference.json")
    metadata, region_names = read_metadata(bundle / "configs" / "metadata.json")
    name = name or re.sub(r"[^\w.-]+", "_", str(metadata.get("name") or bundle.resolve().name))
    if any(word in name.lower() for word in _TAKEN_FOR_OTHER_TASKS) or not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"{name}: MONAI Label would take this for another task, or for no name; pass another --name")
    target = app / "model" / name
    if target.is_dir():
        with of_one_model(target):  # finishes what was killed
            pass
    grown = _grown_there(bundle / "models", target)
    if grown is not None:
        config, metadata = grown_configs(config, metadata, grown)
        region_names = grown.regions
    write_in_one_step(app / "main.py", lambda part: part.write_text(MAIN, encoding="utf-8"))
    _link(PACKAGE, app / "conemos_bundle")

    _copy_model(bundle / "models", target / "models")
    _write_model(target, served_config(config, region_names), metadata)
    written = [target]
    for region in region_names if region_bundles else []:
        thin = app / "model" / f"{name}_{region.replace(' ', '_')}"
        _write_model(thin, served_config(config, region_names, [region]), served_metadata(metadata, [region]))
        _link(target / "models", thin / "models")
        written.append(thin)
    return written


def _grown_there(source: Path, target: Path) -> Run | None:
    """The record of the app's model where it was taught regions there; it may have been trained further in any case.

    Raises:
        UserError: it is of other regions or another network.
    """
    if not ((source / RECORD).is_file() and (target / "models" / RECORD).is_file()):
        return None
    theirs, ours = (read_run(folder / RECORD) for folder in (target / "models", source))
    if (theirs.regions, theirs.network, theirs.plan) == (ours.regions, ours.network, ours.plan):
        return None
    if theirs.regions[: len(ours.regions)] == ours.regions and _base(theirs) == _base(ours):
        return theirs
    raise UserError(
        f"{target}: holds a model of other regions ({', '.join(theirs.regions)}), another network or input than "
        f"{source.parent}; pass another --name or --output, or remove that folder"
    )


def _base(record: Run) -> tuple[Any, ...]:
    """What a model keeps however many regions it is taught."""
    network = record.network.model_dump()
    grown = network.pop("target").endswith(".GrownUNet")
    old = network.pop("num_regions") - network.pop("added") * grown
    is_conditioned = grown or record.network.is_conditioned
    return is_conditioned, record.regions[:old], network, record.plan.model_dump()


def _copy_model(source: Path, target: Path) -> None:
    """A copy, since annotators may train it further; one that is there stays."""
    if not (source / "model.pt").is_file():
        raise UserError(f"{source / 'model.pt'}: no such file; this bundle has no weights")
    sweep(target)
    for file in ("model.pt", "run.json"):
        if (source / file).is_file() and not (target / file).exists():
            write_in_one_step(target / file, partial(shutil.copyfile, source / file))


def _write_model(folder: Path, config: dict[str, Any], metadata: dict[str, Any]) -> None:
    for file, content in (("inference.json", config), ("metadata.json", metadata)):
        write_in_one_step(folder / "configs" / file, partial(Path.write_bytes, data=json_bytes(content)))
    _link(PACKAGE, folder / "conemos_bundle")


def _link(source: Path, link: Path) -> None:
    """A link, relative where it stays in the app; a link that is there is renewed."""
    if link.exists() and not link.is_symlink():
        raise UserError(f"{link}: exists and is no link; remove it")
    inside = link.parent.parent == source.parent.parent
    with part_folder(link.parent) as part:
        new = part / link.name
        new.symlink_to(os.path.relpath(source, link.parent) if inside else source, target_is_directory=True)
        os.replace(new, link)
