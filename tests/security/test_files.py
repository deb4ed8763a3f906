"""Datalists, grids, other tools' data sets, bundles' metadata, segmentations and names of files from a stranger."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conemos_bundle.cli import datalist, pack, predict
from conemos_bundle.data.datalist import read_datalist, scan_name
from conemos_bundle.data.results import earlier_result
from conemos_bundle.errors import UserError
from conemos_bundle.names import check_region_names, folder_name, region_name
from conemos_bundle.paper.grid import read_grid
from conemos_bundle.runs.metadata import read_metadata
from conemos_bundle.volumes import read_volume
from conemos_bundle.volumes.reading import read_geometry
from conemos_bundle.volumes.seg_nrrd import write_seg_nrrd

EVIL = "$__import__('os').system('touch ../mark')"
TARGET = {"_target_": "os.system", "command": "touch ../mark"}


def good_datalist(folder: Path) -> dict[str, Any]:
    return {
        "name": "tiny",
        "regions": ["outer"],
        "training": [{"image": "a.nii.gz", "subject": "a", "masks": {"outer": "m.nii.gz"}}],
    }


def scan(**changed: Any) -> dict[str, Any]:
    return {"training": [{"image": "a.nii.gz", "subject": "a", "masks": {"outer": "m.nii.gz"}, **changed}]}


@pytest.mark.parametrize(
    "changed",
    [
        *({key: text} for key in ("name", "description", "modality", "license", "reference")
          for text in (EVIL, f" {EVIL}", f"\n{EVIL}", "@network", "%configs/train.json", "mail@##x", "\ud800", TARGET)),
        {"inside": TARGET}, {"training": TARGET}, {"regions": TARGET}, {"regions": [EVIL]}, {"_target_": "os.system"},
        {"imports": [EVIL]}, {"regions": ["outer", "OUTER"]}, {"regions": ["a"] * 3},
        *(scan(image=path) for path in ("", "a\0.nii.gz", "a\n.nii.gz", "a" * 300, "a/" * 3000, TARGET, [TARGET])),
        *(scan(masks={"outer": path}) for path in ("", "\0", TARGET, [], {"file": "m", "values": [1e400]})),
        *(scan(subject=name) for name in ("", "\0", "a\nb", "x" * 300, "\u202e", TARGET)),
        scan(masks={EVIL: "m.nii.gz"}), scan(masks={"../outer": "m.nii.gz"}), scan(_target_="os.system"),
    ],
)  # fmt: skip
def test_a_datalist_is_data(changed: dict[str, Any], room: Path) -> None:
    (room / "d.json").write_text(json.dumps({**good_datalist(room), **changed}))
    with pytest.raises(UserError, match=r"d\.json: ") as error:
        read_datalist(room / "d.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ['{"regions": ["a"], "regions": ["b"]}', '{"regions": NaN}', "[" * 9999, '{"x": ' + "1" * 5000 + "}", "\x00", "[]"],
)
def test_what_is_no_datalist(text: str, room: Path) -> None:
    (room / "d.json").write_text(text)
    with pytest.raises(UserError, match=r"d\.json: "):
        read_datalist(room / "d.json")


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {"network::_target_": "os.system"}}, {"settings": {"_target_": "os.system"}},
        {"settings": {"max_epochs": EVIL}}, {"settings": {"optimizer": TARGET}}, {"settings": {"optimizer": [TARGET]}},
        {"settings": {"overlay": "evil.json"}}, {"settings": {"bundle_root": "evil"}}, {"settings": {"imports": ["x"]}},
        {"settings": {"output_dir": "../.."}}, {"settings": {"initialize": ["x"]}}, {"settings": {"a b; touch x": 1}},
        {"settings": {"learning_rate": repr(EVIL)}}, {"settings": {"learning_rate": str([EVIL])}},
        {"settings": {"optimizer": str(TARGET)}}, {"settings": {"x": "--overlay=e.json"}}, {"settings": {"x": "'@y'"}},
        {"settings": {"x": "--bundle_root=evil"}}, {"settings": {"x": "-"}}, {"settings": {"x": "1"}},
        {"settings": {"cache_dir": "/anywhere"}}, {"settings": {"teacher_dir": "x"}}, {"runs": []},
        {"datasets": {name: {"datalist": "d.json", "dataset_dir": "."} for name in "aA"}},
        {"datasets": {name: {"datalist": "d.json", "dataset_dir": "."} for name in ("\u00e9", "e\u0301")}},
        {"settings": {"train::handlers::0::_target_": "os.system"}}, {"settings": {"channels": ["@x"]}},
        {"runs": [{"methods": ["evil.json"]}]}, {"runs": [{"methods": ["../../evil"]}]}, {"runs": [{"seeds": [EVIL]}]},
        {"runs": [{"fractions": [-1.0]}]}, {"threads": 10**9}, {"threads": "1; touch x"},
        {"datasets": {"a; touch ../mark": {"datalist": "d.json", "dataset_dir": "."}}},
        {"datasets": {"$(touch ../mark)": {"datalist": "d.json", "dataset_dir": "."}}},
        {"datasets": {"../a": {"datalist": "d.json", "dataset_dir": "."}}},
        {"datasets": {"{x}": {"datalist": "d.json", "dataset_dir": "."}}},
        {"datasets": {"a": {"datalist": "d.json\0", "dataset_dir": "."}}},
    ],
)  # fmt: skip
def test_a_grid_is_data(changed: dict[str, Any], room: Path) -> None:
    (room / "d.json").write_text(json.dumps(good_datalist(room)))
    grid = {"datasets": {"a": {"datalist": "d.json", "dataset_dir": "."}}, "runs": [{}]}
    (room / "grid.json").write_text(json.dumps(grid))
    read_grid(room / "grid.json")
    (room / "grid.json").write_text(json.dumps({**grid, **changed}))
    with pytest.raises(UserError, match=r"grid\.json: "):
        read_grid(room / "grid.json")


def test_a_data_sets_name_is_no_command(room: Path) -> None:
    for name in (
        "a; touch ../mark",
        "$(touch ../mark)",
        "`touch ../mark`",
        "../../x",
        "{output}",
        "a\nb",
        "'",
        "CON",
        "--x",
    ):
        made = folder_name(name, "data")
        assert region_name(made) == made and "/" not in made and " " not in made


@pytest.mark.parametrize(
    "changed",
    [{"labels": {"1": "../x"}}, {"labels": {"1": EVIL}}, {"labels": TARGET}, {"labels": {"1": "a", "2": "A"}},
     {"training": [{"image": "../../x", "label": "y"}]}],
)  # fmt: skip
def test_another_tools_data_set_is_data(changed: dict[str, Any], room: Path) -> None:
    (room / "set").mkdir()
    case = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    (room / "set" / "dataset.json").write_text(json.dumps({"labels": {"1": "outer"}, "training": [case], **changed}))
    with pytest.raises(UserError):
        datalist(str(room / "set"), str(room / "d.json"), kind="decathlon")
    assert not (room / "d.json").exists()


@pytest.mark.parametrize(
    "channels",
    [
        {"0": "background", "1": "../x"},
        {"0": "background", "1": EVIL},
        {"0": "background"},
        [],
        TARGET,
        {"0": "b", "1": 1},
    ],
)
def test_names_in_metadata_are_names(channels: Any, room: Path) -> None:
    file = room / "metadata.json"
    file.write_text(json.dumps({"network_data_format": {"outputs": {"pred": {"channel_def": channels}}}}))
    with pytest.raises(UserError, match=r"metadata\.json: "):
        read_metadata(file)


def test_a_bundle_whose_regions_lead_elsewhere(bundle: Path, room: Path, tiny_dataset: Path) -> None:
    shutil.copytree(bundle, room / "bundle")
    (room / "bundle" / "models" / "run.json").unlink()  # it would be held against that
    file = room / "bundle" / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] = "../../outer"
    file.write_text(json.dumps(metadata))
    with pytest.raises(UserError, match="cannot name a region"):
        predict(str(tiny_dataset / "images" / "test_0.nii.gz"), model=str(room / "bundle"), output=str(room / "out"))
    told = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json", "--meta_file",
         "configs/metadata.json", "--dataset_dir", str(tiny_dataset / "images"), "--output_dir", str(room / "out")],
        cwd=room / "bundle", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 1 and "cannot name a region" in told.stderr and "Traceback" not in told.stderr
    assert not (room / "out").exists()


def test_segments_are_named_as_regions(room: Path) -> None:
    masks = np.ones((1, 4, 4, 4), np.uint8)
    (room / "set" / "images").mkdir(parents=True)
    (room / "set" / "segmentations").mkdir()
    write_seg_nrrd(room / "set" / "segmentations" / "a.seg.nrrd", masks, np.eye(4), ["../outer"])
    with pytest.raises(UserError):
        datalist(str(room / "set"), str(room / "d.json"))


@pytest.mark.parametrize("file", ["..nii.gz", "...nii.gz", ". .nii", "....seg.nrrd", "x/...nii.gz", ".nii.gz"])
def test_no_scan_is_called_as_the_folder_above(file: str) -> None:
    with pytest.raises(UserError, match="no scan can be called"):
        scan_name(file)


@pytest.mark.parametrize(
    "name", ["$(touch mark)", "@x", "%x", "`x`", "a;b", "$x", "-x", "{x}", "a'b", "true", "1e3", "été", "é", "脳"]
)
def test_files_of_any_name_are_read_and_written_as_they_are_called(
    name: str, room: Path, run: Path, tiny_dataset: Path
) -> None:
    shutil.copy(tiny_dataset / "images" / "test_0.nii.gz", room / f"{name}.nii.gz")
    predict(str(room / f"{name}.nii.gz"), regions="outer", model=str(run), output=str(room / f"{name} out"))
    assert [file.name for file in (room / f"{name} out").iterdir() if file.is_dir()] == [name]
    assert (room / f"{name} out" / name / "outer.nii.gz").is_file()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)], ids=["pipe", "device"])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha", ".json"])
def test_what_never_ends_is_not_opened(make: Callable[[Path], None], extension: str, room: Path) -> None:
    path = room / f"scan{extension}"
    make(path)
    for read in (read_datalist, read_metadata) if extension == ".json" else (read_volume, read_geometry):
        with pytest.raises(UserError, match=f"scan{extension}: .*not a file"):
            read(path)


def test_earlier_results_name_no_other_files(room: Path) -> None:
    result = {
        "image": "a.nii.gz",
        "contents": {"/etc/passwd": ["outer"], str(room / "a.nii.gz"): ["outer"]},
        "regions": {},
    }
    (room / "a_volumes.json").write_text(json.dumps(result))
    assert earlier_result(room, "a")["contents"] == {str(room / "a.nii.gz"): ["outer"]}
    (room / "a_volumes.json").write_text(json.dumps({**result, "regions": {"../x": {}}}))
    assert earlier_result(room, "a") == {}


def test_one_name_however_it_was_typed() -> None:
    assert region_name("te\u0301te") == "t\u00e9te" == region_name("t\u00e9te")
    assert check_region_names(["मस्तिष्क", "мозг", "脳", "دماغ", "สมอง"], "x")
    with pytest.raises(UserError, match="twice"):
        check_region_names(["te\u0301te", "t\u00e9te"], "x")


def test_a_packed_text_is_inert(run: Path, room: Path) -> None:
    """MONAI leaves texts alone that do not begin with its signs; so may users who write of 50% @ 3 T, 5 $ #1."""
    from monai.bundle import ConfigParser

    text = "50% of scans @ 3 T, 5 $ each #1"
    shutil.copytree(run, room / "run")
    record = json.loads((room / "run" / "run.json").read_text())
    record["data"]["description"] = text
    (room / "run" / "run.json").write_text(json.dumps(record))
    pack(str(room / "run"), str(room / "bundle"))
    parser = ConfigParser()
    parser.read_meta(str(room / "bundle" / "configs" / "metadata.json"))
    assert parser["_meta_"]["data_source"] == text
    assert parser.get_parsed_content("_meta_::data_source") == text.replace("#", "::")
