"""A tiny partly annotated data set, a finished run and a bundle of a network for it, and a small DICOM series."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.cli import pack
from conemos_bundle.cli.datalist import datalist
from conemos_bundle.data.datalist import Datalist, Scan, read_datalist, write_datalist
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.make_series import write_series
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.runs.run import RunRecord
from conemos_bundle.utils.paths import bundle_folder
from monai.bundle import ckpt_export
from pydicom import Dataset, dcmread

SHAPE = (20, 18, 16)
AFFINE = np.array([[-2.0, 0, 0, 15], [0, 2.0, 0, -20], [0, 0, 2.0, 7], [0, 0, 0, 1]])  # the first axis towards left
PLAN = {"in_channels": 1, "spacing": [2.0, 2.0, 2.0], "patch_size": [24, 24, 16]}


def _scan(folder: Path, name: str, seed: int, annotated: list[str]) -> Scan:
    """A bright ball, the outer region, with a brighter one in it: one file per region, or values of one label map."""
    random = np.random.default_rng(seed)
    center = np.array(SHAPE) / 2 + random.uniform(-1, 1, 3)
    distance = np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - center, axis=-1)
    labels = (distance < 6).astype(np.uint8) + (distance < 3.5)
    image = (labels + random.normal(0, 0.1, SHAPE)).astype(np.float32)

    def write(kind: str, array: np.ndarray) -> str:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), folder / kind / f"{name}.nii.gz")
        return f"{kind}/{name}.nii.gz"

    masks = {}
    if "outer" in annotated:
        masks["outer"] = write("outer", (labels > 0).astype(np.uint8))
    if "inner core" in annotated:
        masks["inner core"] = {"file": write("labels", labels), "values": [2]}
    return Scan.model_validate({"image": write("images", image), "subject": name, "masks": masks})


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``datalist.json``: 4 training, 2 validation, 1 test scan of 20×18×16 voxels of 2 mm, two regions.

    ``inner core`` lies in ``outer``; training scans 0 and 1 know ``outer`` alone, 2 ``inner core`` alone, 3 both.
    """
    folder = tmp_path_factory.mktemp("tiny")
    both = ["outer", "inner core"]
    known = {"training": [["outer"], ["outer"], ["inner core"], both], "validation": [both, ["outer"]], "test": [both]}
    splits = {
        split: [_scan(folder, f"{split}_{i}", i, regions) for i, regions in enumerate(scans)]
        for split, scans in known.items()
    }
    write_datalist(Datalist(name="tiny", modality="MR", regions=both, **splits), folder / "datalist.json")
    return folder


@pytest.fixture(scope="session")
def run(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny network with random weights, as if it had been trained.

    The network finds some voxels of both regions in a scan of ``tiny_dataset``, not all.
    """
    folder = tmp_path_factory.mktemp("run")
    image = nibabel.load(tiny_dataset / "images" / "test_0.nii.gz").get_fdata()
    x = torch.from_numpy((image - image.min()) / np.ptp(image)).float()[None, None]
    for seed in range(200):
        torch.manual_seed(seed)
        network = FiLMUNet(num_regions=2, channels=(2, 4), norm="instance", film_position="before_activation").eval()
        with torch.no_grad():
            found = (network(x) > 0).float().mean(dim=(0, 2, 3, 4))
        if bool(((found > 0.05) & (found < 0.95)).all()) and abs(float(found[0] - found[1])) > 0.05:
            break
    RunRecord(str(folder), read_datalist(tiny_dataset / "datalist.json"), PLAN, network).write(None)
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


@pytest.fixture(scope="session")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as a bundle, with its zip beside it."""
    folder = tmp_path_factory.mktemp("packed") / "tiny_regions"
    pack(str(run), str(folder), version="0.2.0", changes="tried", archive=True)
    return folder


@pytest.fixture(scope="session")
def torchscript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's model as ``model.ts``, as `docs/deploy.md` says to make it."""
    folder, file = bundle_folder(), tmp_path_factory.mktemp("exported") / "model.ts"
    ckpt_export(
        "network_def",
        str(file),
        str(folder / "models" / "model.pt"),
        str(folder / "configs" / "metadata.json"),
        str(folder / "configs" / "inference.json"),
    )
    return file


@pytest.fixture
def good(tmp_path: Path) -> dict[str, Any]:
    """A datalist, its files in `tmp_path`: two training scans, one for validation and test each; all kinds of masks."""
    shape = (6, 5, 4)
    labels = np.zeros(shape, np.uint8)
    labels[1:3, 1:4, 1:3] = 1
    labels[3:5, 1:4, 1:3] = 2
    channels = np.stack([labels == 1, labels == 2], -1).astype(np.uint8)
    content: dict[str, Any] = {"regions": ["whole", "front", "back"], "training": [], "validation": [], "test": []}
    for index, split in enumerate(("training", "training", "validation", "test")):
        image = np.random.default_rng(index).random(shape).astype(np.float32)
        for kind, voxels in {"i": image, "l": labels, "m": (labels > 0).astype(np.uint8), "c": channels}.items():
            volume = nibabel.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0]))
            nibabel.save(volume, tmp_path / f"{kind}{index}.nii.gz")
        masks = {
            "whole": f"m{index}.nii.gz",
            "front": {"file": f"l{index}.nii.gz", "values": [1]},
            "back": {"file": f"c{index}.nii.gz", "channel": 1},
        }
        if index == 1:
            masks["back"] = {"file": f"l{index}.nii.gz", "values": [2]}
        content[split].append({"image": f"i{index}.nii.gz", "subject": f"s{index}", "masks": masks})
    return content


@pytest.fixture
def oblique() -> np.ndarray:
    """An affine in RAS+: columns 1.5 mm apart, rows 2.5 mm, slices 3 mm; turned about two axes."""
    a, b = np.deg2rad([20, -10])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [1.5, 2.5, 3.0]
    affine[:3, 3] = [-11, 7, 30]
    return affine


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 30, (12, 10, 8)).astype(np.float32)


@pytest.fixture
def series(tmp_path: Path, voxels: np.ndarray, oblique: np.ndarray) -> Path:
    """A folder of 8 images ``0.dcm`` to ``7.dcm``."""
    write_series(tmp_path / "series", voxels, oblique)
    return tmp_path / "series"


@pytest.fixture
def change() -> Callable[..., None]:
    """``change(folder, images, Tag=value)``: set tags of some images; None takes them out."""

    def apply(folder: Path, images: range | list[int], **tags: Any) -> None:
        for index in images:
            dataset: Dataset = dcmread(folder / f"{index}.dcm")
            for name, value in tags.items():
                if value is None:
                    dataset.pop(name, None)
                else:
                    setattr(dataset, name, value)
            dataset.save_as(folder / f"{index}.dcm")

    return apply


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for a data set; the commands run in another one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def imported(source: Path) -> Callable[..., Datalist]:
    """Writes files below ``source``, imports them with the options, reads the datalist.

    A file's content is its text (the importers look at the names of scans only), a dict for JSON without its keys of
    value None, or None for no file in its folder.
    """

    def write_and_import(files: dict[str, Any], **options: Any) -> Datalist:
        for name, content in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict):
                content = json.dumps({key: value for key, value in content.items() if value is not None})
            if content is not None:
                (source / name).write_text(content, encoding="utf-8")
        datalist(str(source), **options)
        return read_datalist(options.get("output", "datalist.json"))

    return write_and_import


@pytest.fixture
def refusal(imported: Callable[..., Datalist]) -> Callable[..., str]:
    """Writes and imports what must be refused; returns the one line, after which nothing may have been written."""

    def refused(files: dict[str, Any], **options: Any) -> str:
        with pytest.raises(UserError) as raised:
            imported(files, **options)
        assert "\n" not in str(raised.value)
        assert [path.name for path in Path.cwd().iterdir() if path.name != "x.nii"] == []
        return str(raised.value)

    return refused


@pytest.fixture
def scans(tiny_dataset: Path, tmp_path: Path) -> Path:
    """Three scans, no two alike."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, source in (("a", "test_0"), ("b", "training_1"), ("c", "training_2")):
        shutil.copy(tiny_dataset / "images" / f"{source}.nii.gz", folder / f"{name}.nii.gz")
    return folder
