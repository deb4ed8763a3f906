"""A model of `tiny_dataset`'s regions, with random weights; and what our app and tasks build on of MONAI Label."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.data.datalist import read_datalist
from conemos_bundle.hosts.label.app_folder import write_app
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.runs.run import RunRecord
from filelock import FileLock
from monai.bundle import ConfigParser


@pytest.fixture(scope="session")
def finished_models(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model.pt`` and ``run.json``."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = FiLMUNet(num_regions=2, channels=(2, 4), norm="instance", film_position="before_activation")
    plan = {"in_channels": 1, "spacing": [2.0, 2.0, 2.0], "patch_size": [16, 16, 16]}
    RunRecord(str(folder), read_datalist(tiny_dataset / "datalist.json"), plan, network).write(None)
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


class HTTPException(Exception):  # noqa: N818 - its name in fastapi
    def __init__(self, status_code: int, detail: str) -> None:
        super().__init__(f"{status_code}: {detail}")
        self.status_code, self.detail = status_code, detail


class BundleInferTask:
    """Runs the steps of a task, as MONAI Label's does; ``runs`` counts that."""

    def __init__(self, path: str, conf: dict[str, str]) -> None:
        self.bundle_path, self.runs = path, 0
        self.bundle_config = ConfigParser()
        self.bundle_config.read_config(str(Path(path, "configs", "inference.json")))
        self._config: dict[str, Any] = {"device": ["cpu"], "model_filename": ["model.pt"]}
        if self.bundle_config.get("displayable_configs"):
            self._config.update(self.bundle_config.get_parsed_content("displayable_configs"))

    def info(self) -> dict[str, Any]:
        return {"labels": self.labels, "config": self._config}  # type: ignore[attr-defined]

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[Any, dict[str, Any]]:
        self.runs += 1
        data = {**self._config, **request, "image_path": request["image"]}
        for transform in self.pre_transforms(data):  # type: ignore[attr-defined]
            data = transform(data)
        data = self.run_inferer(data, device="cpu")  # type: ignore[attr-defined]
        for transform in self.post_transforms(data):  # type: ignore[attr-defined]
            data = transform(data)
        return (None, data) if data.get("skip_writer") else self.writer(data)

    def writer(self, data: dict[str, Any], extension: Any = None, dtype: Any = None) -> tuple[Any, dict[str, Any]]:
        return data["pred"].array, data["result"]


class MONAILabelApp:
    def __init__(self, app_dir: str, studies: str, conf: dict[str, str], name: str, description: str, version: str):
        self.app_dir, self.conf, self.studies = app_dir, conf, studies
        self._datastore = self.init_datastore()
        self._infers = self.init_infers()
        self._trainers, self._strategies = self.init_trainers(), self.init_strategies()
        self._scoring_methods = self.init_scoring_methods()

    def init_datastore(self) -> Any:
        files = Path(self.studies).glob("*.nii.gz")
        return LocalDatastore({file.name.removesuffix(".nii.gz"): file for file in files})

    def datastore(self) -> Any:
        return self._datastore

    def sessions(self) -> Any:
        return None

    def infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        if not os.path.exists(request["image"]):
            request = {**request, "image": self.datastore().get_image_uri(request["image"])}
        file, params = self._infers[request["model"]](request)
        return {"file": file, "params": params}

    def _batch_infer(self, request: dict[str, Any], datastore: Any, infer: Any) -> dict[str, Any]:
        return {name: infer({**request, "image": name}, datastore) for name in sorted(datastore.list_images())}


class Described:
    """A task with a description."""

    def __init__(self, description: str = "") -> None:
        self.description = description


class LocalDatastore:
    """Scans and what annotators submitted, in a folder."""

    def __init__(self, images: dict[str, Path]) -> None:
        self.images, self.labels = images, dict[str, tuple[Path, dict[str, Any]]]()
        self.infos: dict[str, dict[str, Any]] = {name: {} for name in images}

    def list_images(self) -> list[str]:
        return list(self.images)

    def get_image_uri(self, name: str) -> str:
        return os.path.realpath(self.images[name]) if name in self.images else ""

    def get_image_info(self, name: str) -> dict[str, Any]:
        return dict(self.infos[name])

    def update_image_info(self, name: str, info: dict[str, Any]) -> None:
        self.infos[name].update(info)

    def get_labels_by_image_id(self, name: str) -> dict[str, str]:
        return {"final": name} if name in self.labels else {"original": name}

    def get_label_uri(self, name: str, tag: str) -> str:
        return str(self.labels[name][0])

    def get_label_info(self, name: str, tag: str) -> dict[str, Any]:
        return self.labels[name][1]


class DICOMWebDatastore(LocalDatastore):
    """A DICOMweb store: its answer on labeled series is old, and its files of labels go by other UIDs."""

    def get_labeled_images(self) -> list[str]:
        return []

    def get_label_uri(self, name: str, tag: str) -> str:
        raise FileNotFoundError(f"no series of segmentations {name}")


STAND_INS: dict[str, dict[str, Any]] = {
    "fastapi": {"HTTPException": HTTPException},
    "monailabel.interfaces.app": {"MONAILabelApp": MONAILabelApp},
    "monailabel.tasks.activelearning.first": {"First": Described},
    "monailabel.tasks.activelearning.random": {"Random": Described},
    "monailabel.tasks.infer.bundle": {"BundleInferTask": BundleInferTask},
    "monailabel.datastore.dicom": {"dicom_to_nifti": lambda series_dir, is_seg=False: f"theirs {series_dir} {is_seg}"},
    "monailabel.datastore.local": {"LocalDatastore": LocalDatastore, "shutil": shutil, "FileLock": FileLock},
    "monailabel.interfaces.tasks.scoring": {"ScoringMethod": Described},
    "monailabel.interfaces.tasks.strategy": {"Strategy": Described},
    "monailabel.interfaces.tasks.train": {"TrainTask": Described},
    "monailabel.utils.others.generic": {"device_list": lambda: ["cpu"], "name_to_device": lambda name: "cpu"},
}
OURS = tuple(f"conemos_bundle.hosts.label.{name}" for name in ("submitted", "tasks", "app"))


@pytest.fixture
def label(monkeypatch: pytest.MonkeyPatch, tiny_dataset: Path) -> Iterator[types.SimpleNamespace]:
    """Our ``app`` and ``tasks`` where monailabel is not installed, with stand-ins for what they import of it."""
    for name, contents in STAND_INS.items():
        parts = name.split(".")
        for length in range(1, len(parts)):
            parent = ".".join(parts[:length])
            if parent not in sys.modules:
                monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        module = types.ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    for name in OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    _, tasks, app = (importlib.import_module(name) for name in OURS)
    yield types.SimpleNamespace(
        app=app, tasks=tasks, HTTPException=HTTPException, Folder=LocalDatastore, DICOMweb=DICOMWebDatastore,
        studies=tiny_dataset / "images",
    )  # fmt: skip
    for name in OURS:
        sys.modules.pop(name, None)


@pytest.fixture
def app_folder(bundle: Path, tmp_path: Path) -> Path:
    """The app of a tiny model of ``outer`` and, in it, ``inner core``; and a bundle of either region."""
    write_app(bundle, tmp_path / "app", "tiny", region_bundles=True)
    return tmp_path / "app"


@pytest.fixture
def scan(tiny_dataset: Path) -> Path:
    return tiny_dataset / "images" / "test_0.nii.gz"


@pytest.fixture
def empty_scan(tmp_path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 18, 16), np.float32), np.eye(4)), tmp_path / "empty.nii.gz")
    return tmp_path / "empty.nii.gz"
