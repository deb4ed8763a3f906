"""A finished run as a bundle of its own."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.evaluation.warn import unfinished
from conemos_bundle.files import folder_in_one_step, sweep
from conemos_bundle.hosts.bundle import (
    reject_other_archive,
    reject_other_unit_tests,
    write_archive,
    write_checksums,
    write_hugging_face_card,
    write_large_files,
    write_unit_tests,
)
from conemos_bundle.hosts.bundle.evaluation import read_evaluation
from conemos_bundle.hosts.bundle.exporting import ExportError, export_bundle
from conemos_bundle.hosts.bundle.formats import checked_formats
from conemos_bundle.hosts.bundle.model_card import model_card
from conemos_bundle.hosts.bundle.zoo_versions import differences, zoo_versions
from conemos_bundle.runs.record import Run, Source, as_dictionary
from conemos_bundle.runs.run import RECORD, package_versions, read_record, recorded_network
from conemos_bundle.runs.weights import fit_weights, load_weights
from conemos_bundle.utils.paths import bundle_folder

logger = logging.getLogger(__name__)
METADATA = "configs/metadata.json"
PACKAGE = Path(__file__).resolve().parents[2]
# a list of what to carry, not of what to leave: where the package is installed, configs, weights and scans lie in it
CORE = (
    "__init__.py", "data", "errors.py", "evaluation", "files.py", "growing", "inferers", "losses", "metrics",
    "names.py", "networks", "predictor", "py.typed", "runs", "scales.py", "training", "transforms", "utils", "volumes",
)  # fmt: skip
KINDS = {
    "FiLMUNet": "A FiLM-conditioned 3D UNet (CoNeMOS)",
    "GrownUNet": "A FiLM-conditioned 3D UNet (CoNeMOS) that was taught more regions later,",
    "UNet": "A 3D UNet with one output per region",
    "MultiLayer": "A 3D UNet with a last layer per region",
    "MultiDecoder": "A 3D UNet with a decoder per region",
    "IndividualNetworks": "A 3D UNet per region",
    "DoDNet": "A 3D UNet with a filter made for each region (DoDNet)",
}
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
REQUIRED = (
    "nibabel", "pytorch-ignite", "itk-io", "scipy", "pandas", "pydantic", "pydicom", "fire", "matplotlib",
    "tensorboard", "tqdm",
)  # fmt: skip


def metadata(record: Run, name: str, version: str, changelog: dict[str, str], **texts: str) -> dict[str, Any]:
    """The Model Zoo's metadata of a model.

    Args:
        record: the run's record.
        name: name of the bundle.
        version: its version, a key of ``changelog``.
        changelog: what each version brought.
        texts: fields to set otherwise than by default (``authors``, ``copyright``, ``description``, …).
    """
    regions, plan, data = record.regions, record.plan, record.data
    sources = [data, *record.began_with, *record.added.values()]
    versions = zoo_versions(package_versions())
    listed = ", ".join(regions)
    kind = KINDS.get(record.network.target.rpartition(".")[2], "A 3D network")
    shape = [f"{side}*n" for side in [2 ** (len(record.network.channels) - 1)] * 3]
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": data.modality or "MR",
        "num_channels": plan.in_channels,
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": True,
        "channel_def": {str(i): "image" for i in range(plan.in_channels)},
    }
    pred = {
        "type": "image",
        "format": "segmentation",
        "num_channels": len(regions),
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        # values of the label map; channel k - 1 of the network holds region k
        "channel_def": {"0": "background", **{str(k + 1): region for k, region in enumerate(regions)}},
    }
    fields = {
        "schema": SCHEMA,
        "version": version,
        "changelog": changelog,
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"],
        "numpy_version": versions["numpy"],
        "required_packages_version": {package: versions[package] for package in REQUIRED},
        "supported_apps": {},
        "name": name,
        "task": f"Segmentation of any of the regions {listed}, on demand",
        "description": f"{kind} trained on partially annotated scans; regions: {listed}.",
        "authors": "CoNeMOS Bundle developers",
        "copyright": "Copyright (c) CoNeMOS Bundle developers",
        "data_source": "; ".join(filter(None, dict.fromkeys(s.description or s.name for s in sources))),
        "data_type": "nibabel",
        "image_classes": f"{plan.in_channels}-channel {data.modality or 'MR'}, intensities scaled to [0, 1]",
        "label_classes": f"one binary mask per region: {listed}",
        "pred_classes": f"one channel per region, which may overlap or nest: {listed}",
        "intended_use": "Research only; not for clinical use.",
        "references": [
            "Billot, B., Dey, N., Abaci Turk, E., Grant, P. E., Golland, P. Network conditioning for synergistic "
            "learning on partial annotations. MIDL 2024.",
            *dict.fromkeys(source.reference for source in sources if source.reference),
        ],
        **texts,
    }
    summary = record.evaluation
    if summary:
        fields["eval_metrics"] = summary
    return {
        **fields,
        "network_data_format": {
            "inputs": {"image": image},
            "outputs": {"pred": pred},
            # beside `inputs`, where the Deploy operator would choke on it
            "optional_inputs": {
                "regions": {
                    "type": "tuple",
                    "value": f"indices (R,) of the regions asked for, of {len(regions)}; default: all",
                }
            },
        },
    }


def inference_config(record: Run) -> dict[str, Any]:
    """The package's inference.json with the values of a model."""
    config: dict[str, Any] = json.loads((bundle_folder() / "configs" / "inference.json").read_text(encoding="utf-8"))
    config["spacing"] = record.plan.spacing
    config["window"] = record.plan.patch_size
    config["inside"] = record.inside
    config["scales"] = record.plan.scales_of_regions
    config["network_def"] = record.network.as_config
    return config


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=4) + "\n").encode()


def pack_run(
    run: str,
    output: str,
    name: str | None = None,
    version: str = "0.1.0",
    changes: str = "first version",
    authors: str | None = None,
    archive: bool = False,
    formats: str | Sequence[str] = (),
    weights_url: str | None = None,
    hugging_face: bool = False,
    unit_tests: str | None = None,
) -> Path:
    """Make a bundle of a finished run; arguments and errors are those of `conemos pack`.

    Returns:
        the bundle's folder.
    """
    if formats:
        checked_formats(formats)
    source, target = Path(run).expanduser(), Path(output).expanduser().absolute()
    sweep(target.parent)
    if target.exists():
        raise UserError(f"{output}: exists; pass another --output")
    name = name or target.name
    if not re.fullmatch(r"[A-Za-z]\w*", name) or "_v" in name:
        raise UserError(f"{name!r} cannot be a bundle's name: letters, digits and '_', but not '_v'; pass --name")
    if unit_tests is not None:  # for the Model Zoo
        _reject_name_within_another(name, target, Path(unit_tests).expanduser().absolute())
        reject_other_unit_tests(Path(unit_tests).expanduser(), name)
    record = read_record(source / "model.pt")
    weights = load_weights(source / "model.pt")
    fit_weights(recorded_network(record), weights, source / "model.pt")
    evaluated = read_evaluation(source, record.regions)
    record = record.model_copy(update={"evaluation": evaluated.dice})
    texts = {"authors": authors, "copyright": f"Copyright (c) {authors}"} if authors else {}
    described = metadata(record, name, version, {version: changes}, **texts)
    zipped = target.with_name(f"{name}.zip")
    if archive:
        reject_other_archive(zipped, {f"models/{RECORD}": _json(as_dictionary(record)), METADATA: _json(described)})
    if told := unfinished(source):
        logger.warning(told)
    root, not_exported = bundle_folder(), ""
    with folder_in_one_step(target) as part:
        (part / "models").mkdir()
        (part / "docs").mkdir()
        shutil.copytree(PACKAGE, part / "conemos_bundle", ignore=_not_of_the_core)
        shutil.copytree(root / "configs", part / "configs", ignore=shutil.ignore_patterns("__*"))
        (part / "LICENSE").write_text(_license(root), encoding="utf-8")
        torch.save(weights, part / "models" / "model.pt")
        (part / "models" / RECORD).write_bytes(_json(as_dictionary(record)))
        (part / METADATA).write_bytes(_json(described))
        (part / "configs" / "inference.json").write_bytes(_json(inference_config(record)))
        (part / "docs" / "README.md").write_text(
            model_card(record, described, evaluated.table, [picture.name for picture in evaluated.pictures]),
            encoding="utf-8",
        )
        (part / "docs" / "data_license.txt").write_text(_data_license(record), encoding="utf-8")
        for picture in evaluated.pictures:
            shutil.copy(picture, part / "docs" / picture.name)
        try:
            if formats:
                export_bundle(part, formats)
        except ExportError as error:  # minutes may have gone into the others
            not_exported = str(error)
        write_checksums(part)
        if weights_url is not None:
            large = write_large_files(part, weights_url)
            print(f"upload to {weights_url}, and leave out of a pull request: {', '.join(large) or 'nothing'}")
        if hugging_face:
            write_hugging_face_card(part, described)
        if unit_tests is not None:
            write_unit_tests(Path(unit_tests).expanduser(), name)
        if archive:  # before the folder is there: then all of it is
            print(f"wrote {write_archive(part, zipped)}, and its sha256 sum beside it")
    print(f"wrote {target}")
    if not_exported:
        raise ExportError(not_exported)
    installed = package_versions()
    if told := differences(installed, zoo_versions(installed)):
        print(told)
    return target


def _not_of_the_core(folder: str, names: Sequence[str]) -> set[str]:
    """What a packed bundle does not carry: it is trained, evaluated and asked by `monai.bundle` and its hosts."""
    return set(names) - set(CORE) if Path(folder) == PACKAGE else {"__pycache__"} & set(names)


def _reject_name_within_another(name: str, target: Path, unit_tests: Path) -> None:
    """The Model Zoo finds bundles by parts of their names: none may be part of another's in that clone of it."""
    for other in sorted((unit_tests.parent.parent / "models").glob("[!.]*/configs/metadata.json")):
        folder = other.parents[1]
        if folder != target and (name in folder.name or folder.name in name):
            raise UserError(f"{name!r} cannot be a bundle's name beside {folder}; pass --name")


def _data_license(record: Run) -> str:
    """What the license file of the training data says."""
    sources: dict[str, Source] = {"The weights in models/ were trained on": record.data}
    sources |= {
        f"They began as weights{f' ({place})' if place > 1 else ''} that were trained on": before
        for place, before in enumerate(record.began_with, 1)
    }
    sources |= {f"A region was added later, {region}, taught on": taught for region, taught in record.added.items()}
    lines = []
    for begin, source in sources.items():
        data = {key: " ".join(text.split()) for key, text in source.model_dump().items() if isinstance(text, str)}
        lines += [
            f"{begin}: {data['description'] or data['name'] or 'not stated'}.",
            f"License of these data: {data['license'] or 'not stated in the datalist'}.",
            f"Reference: {data['reference'] or 'not stated in the datalist'}.",
        ]
    lines.append("Pictures of scans in this folder are made from these data and carry their license.")
    return "\n".join(lines) + "\n"


def _license(root: Path) -> str:
    """The license's text: in the repository's (or bundle's) root, or with the installed package."""
    file = root / "LICENSE"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    text = distribution("conemos-bundle").read_text("licenses/LICENSE")
    if text is None:
        raise UserError(f"{file}: no such file; install the package again")
    return text
