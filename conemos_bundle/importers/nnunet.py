"""Read the folders of the Medical Decathlon and of nnU-Net v2: both describe themselves in dataset.json."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from conemos_bundle.data.datalist import Scan, make_scan, scan_name
from conemos_bundle.errors import UserError
from conemos_bundle.importers.folders import ImportedDataset, image_files, label_masks, region_values, relative_path
from conemos_bundle.names import check_region_names
from conemos_bundle.utils.records import read_json
from conemos_bundle.volumes import EXTENSIONS
from pydantic import BaseModel, Field, ValidationError


class _Case(BaseModel):
    image: str
    label: str


class _Decathlon(BaseModel):
    labels: dict[str, str]
    training: Annotated[list[_Case], Field(min_length=1)]
    validation: list[Any] = []  # with labels, as in `training`, or the paths of images
    test: list[Any] = []


class _NnUNet(BaseModel, strict=True):
    labels: dict[str, int | list[int]]
    channel_names: dict[str, str]
    file_ending: str


_Model = TypeVar("_Model", _Case, _Decathlon, _NnUNet)


def read_dataset_json(source: Path) -> dict[str, Any]:
    """The content of SOURCE/dataset.json.

    Raises:
        UserError: it is missing or no JSON object.
    """
    path = source / "dataset.json"
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a JSON object with 'labels'")
    return content


def from_decathlon(source: Path, root: Path, subject: Callable[[str], str], regions: object = None) -> ImportedDataset:
    """A task of the Medical Decathlon: every label of every training scan is annotated; test scans have no labels.

    Where a data set of this form lists validation or test scans with labels, they are those splits.

    Args:
        source: the folder with dataset.json.
        root: where the paths of the datalist start.
        subject: gives the subject of a scan's name.
        regions: label values of each region; default: each label is one.

    Raises:
        UserError: dataset.json is malformed, or a file that it lists does not exist.
    """
    content = read_dataset_json(source)
    path = source / "dataset.json"
    described = _validate(_Decathlon, content, path)
    labels: dict[str, list[int]] = {}
    for text, name in described.labels.items():
        if not re.fullmatch(r"0|[1-9][0-9]{0,17}", text):  # "01" would be 1 once more
            raise UserError(f'{path}: labels: {text[:60]!r} is no label value; write {{"1": "name"}}')
        if int(text) != 0:  # background
            labels.setdefault(name, []).append(int(text))
    values = _values(labels, regions, path)
    found = ImportedDataset(regions=list(values), fields=_fields(content))

    def scan(case: _Case) -> Scan:
        image, label = source / case.image, source / case.label
        for file in (image, label):
            if not file.is_file():
                raise UserError(f"{file}: no such file, but {path} lists it")
        masks = label_masks(relative_path(label, root), values)
        return make_scan(relative_path(image, root), subject(scan_name(image.name)), masks)

    found.unsplit = [scan(case) for case in described.training]
    for split, items in (("validation", described.validation), ("test", described.test)):
        labeled = [item for item in items if isinstance(item, dict) and item.get("label")]
        if labeled:
            cases = [_validate(_Case, item, f"{path}: {split}") for item in labeled]
            found.split[split] = [scan(case) for case in cases]
        if len(labeled) < len(items):
            found.notes.append(f"{path} lists {len(items) - len(labeled)} {split} images without labels: left out")
    return found


def from_nnunet(source: Path, root: Path, subject: Callable[[str], str], regions: object = None) -> ImportedDataset:
    """A raw data set of nnU-Net v2, with its labels or its overlapping regions (lists of label values).

    Voxels of its label ``ignore`` are ignored, for every region.
    A case without a label map is a scan without annotations. Where labelsTs exists, its cases are the test split.

    Args:
        source: the folder with dataset.json, imagesTr and labelsTr.
        root: where the paths of the datalist start.
        subject: gives the subject of a case's name.
        regions: label values of each region; default: those of dataset.json.

    Raises:
        UserError: dataset.json is malformed, a channel of a case is missing, or a label map has no image.
    """
    content = read_dataset_json(source)
    path = source / "dataset.json"
    described = _validate(_NnUNet, content, path)
    if described.file_ending.lower() not in EXTENSIONS:
        raise UserError(f"{path}: file_ending {described.file_ending!r}: only {', '.join(EXTENSIONS)} can be read")
    labels = {name: each if isinstance(each, list) else [each] for name, each in described.labels.items()}
    ignored = labels.pop("ignore", [])
    if both := sorted({value for name in labels for value in [0, *labels[name]]} & set(ignored)):
        raise UserError(f"{path}: labels: 'ignore' is {both[0]}, and so is another label; give it a value of its own")
    values = _values({name: each for name, each in labels.items() if each != [0]}, regions, path)
    channels = len(described.channel_names)

    def scans(images: str, label_folder: str, annotated_only: bool) -> list[Scan]:
        cases = _cases(source / images, channels)
        label_files = image_files(source / label_folder)
        if lost := sorted(set(label_files) - set(cases)):
            raise UserError(f"{label_files[lost[0]]}: this label map has no image {source / images / lost[0]}_0000.*")
        return [
            make_scan(
                image[0] if len(image := [relative_path(file, root) for file in files]) == 1 else image,
                subject(case),
                label_masks(relative_path(label_files[case], root), values, ignored) if case in label_files else {},
            )
            for case, files in cases.items()
            if case in label_files or not annotated_only
        ]

    found = ImportedDataset(regions=list(values), unsplit=scans("imagesTr", "labelsTr", False), fields=_fields(content))
    if ignored:
        found.notes.append(f"{path}: voxels of the label 'ignore' ({ignored[0]}) are ignored: unknown for every region")
    if (source / "labelsTs").is_dir():
        found.split["test"] = scans("imagesTs", "labelsTs", True)
    return found


def _cases(folder: Path, channels: int) -> dict[str, list[Path]]:
    """The files of each case, CASE_0000.ext, CASE_0001.ext, …: one per channel."""
    files = image_files(folder)
    cases: dict[str, list[Path]] = {}
    for name, file in files.items():
        case, _, number = name.rpartition("_")
        if not case or not re.fullmatch("[0-9]{4}", number):
            raise UserError(
                f"{file}: nnU-Net's images are named CASE_0000.ext, with the channel as the last four digits"
            )
        if int(number) >= channels:
            raise UserError(f"{file}: channel {int(number)}, but dataset.json names {channels} channel(s)")
        cases.setdefault(case, []).append(file)
    for case, its_files in cases.items():
        if len(its_files) != channels:
            raise UserError(
                f"{its_files[0]}: case {case} has {len(its_files)} of the {channels} channels of dataset.json"
            )
    return cases


def _validate(model: type[_Model], content: dict[str, Any], path: Path | str) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _values(labels: dict[str, list[int]], regions: object, path: Path) -> dict[str, list[int]]:
    """The label values of each region: the asked ones, or all of dataset.json, outer (more values) first."""
    known = {value for values in labels.values() for value in values}
    if regions is None:
        check_region_names(list(labels), str(path))
        if not labels or not all(labels.values()):
            raise UserError(f"{path}: labels: name at least one label besides the background, each with a value")
        return dict(sorted(labels.items(), key=lambda item: -len(item[1])))
    values = region_values(regions)
    for name, wanted in values.items():
        if unknown := sorted(set(wanted) - known):
            raise UserError(f"--regions: {name!r} has the value {unknown[0]}, which is no label of {path}")
    return values


def _fields(content: dict[str, Any]) -> dict[str, str]:
    """Name, modality and so on, where dataset.json says them as text (modality: as text a channel)."""
    modality = content.get("modality", content.get("channel_names"))
    given = {
        "name": content.get("name"),
        "description": content.get("description"),
        "modality": ", ".join(map(str, modality.values())) if isinstance(modality, dict) else modality,
        "license": content.get("license", content.get("licence")),
        "reference": content.get("reference"),
    }
    return {key: value for key, value in given.items() if isinstance(value, str)}
