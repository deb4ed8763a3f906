"""MONAI Label's data store writes whole files."""

from __future__ import annotations

import json
import shutil
import types
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.errors import OutputError, UserError
from conemos_bundle.hosts.label.studies import reject_strange_list, see_moved_files, write_whole_files
from filelock import FileLock


class Store:
    """As MONAI Label's ``LocalDatastore``."""

    def __init__(self, folder: Path) -> None:
        self._lock_file, self._datastore_config_path = str(folder / ".lock"), str(folder / "datastore_v2.json")
        self._config_ts = 0.0
        self._datastore = types.SimpleNamespace(model_dump=lambda exclude: {"objects": {"case": 1}})

    def _update_datastore_file(self, lock: bool = True) -> None:
        raise NotImplementedError


@pytest.fixture
def local() -> Any:
    module = types.SimpleNamespace(shutil=shutil, FileLock=FileLock, LocalDatastore=type("Own", (Store,), {}))
    write_whole_files(module)
    write_whole_files(module)
    return module


def test_its_list_is_written_whole(local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = local.LocalDatastore(tmp_path)
    file = tmp_path / "datastore_v2.json"
    for lock in (True, False):
        file.write_text("old")
        store._update_datastore_file(lock)
        assert json.loads(file.read_text()) == {"objects": {"case": 1}} and store._config_ts == file.stat().st_mtime
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store._update_datastore_file()
    assert json.loads(file.read_text()) == {"objects": {"case": 1}}
    assert {path.name for path in tmp_path.iterdir()} <= {".lock", "datastore_v2.json"}


def test_labels_are_copied_whole(local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, label = tmp_path / "sent.nii.gz", tmp_path / "labels" / "final" / "case.nii.gz"
    sent.write_bytes(b"new")
    local.shutil.copy(str(sent), str(label))
    assert label.read_bytes() == b"new"

    def full(source: str, target: Path) -> None:
        Path(target).write_bytes(b"n")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left"):
        local.shutil.copy(str(sent), str(label))
    assert label.read_bytes() == b"new" and [path.name for path in label.parent.iterdir()] == ["case.nii.gz"]


def test_moved_files_are_seen() -> None:
    store = types.SimpleNamespace(_handler=types.SimpleNamespace(on_moved=None), _on_any_event=print)
    see_moved_files(store)
    assert store._handler.on_moved is print
    see_moved_files(types.SimpleNamespace())  # it watches nothing


def listed(name: str = "case", ext: str = ".nii.gz", tag: str = "final", **more: Any) -> dict[str, Any]:
    data = {"ext": ext, "info": {}}
    return {"name": "x", "objects": {name: {"image": data, "labels": {tag: data}}}, **more}


def test_a_folder_that_somebody_sent_is_not_led_out_of(tmp_path: Path) -> None:
    file = tmp_path / "datastore_v2.json"
    reject_strange_list(str(tmp_path))
    reject_strange_list("http://store/dicom-web")
    for good in (listed(), listed(ext=".seg.nrrd", images_dir="."), listed(images_dir="", labels_dir="labels"), {}):
        file.write_text(json.dumps(good))
        reject_strange_list(str(tmp_path))
    for bad in (
        listed(images_dir="/"), listed(labels_dir="../x"), listed(name="../x"), listed(ext="/../../etc/passwd"),
        listed(tag=".."), {"objects": {"case": {}}}, {"objects": {"case": 5}}, {"objects": [1]}, [1], 5,
        {"objects": {"case": {"image": {"ext": 5, "info": {}}, "labels": {}}}},
        {"objects": {"case": {"image": {"ext": ".nii", "info": 5}, "labels": {}}}},
    ):  # fmt: skip
        file.write_text(json.dumps(bad))
        with pytest.raises(UserError, match=r"datastore_v2.json: .*; put a copy back"):
            reject_strange_list(str(tmp_path))
    file.write_text('{"objects": {"case')
    with pytest.raises(UserError, match=r"datastore_v2.json: not valid JSON .*; put a copy back"):
        reject_strange_list(str(tmp_path))
