from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.data.datalist import (
    Datalist,
    MaskSource,
    Scan,
    read_datalist,
    scan_items,
    scan_name,
    scans_folder,
    stored_folder,
    write_datalist,
)
from conemos_bundle.errors import UserError
from pydantic import ValidationError

SCAN = {"image": "a.nii.gz", "subject": "s1", "masks": {"body": "body/a.nii.gz"}}
GOOD: dict[str, Any] = {
    "name": "fetal scans",
    "regions": ["body", "brain", "left eye"],
    "training": [
        SCAN,
        {
            "image": ["b_0.nii.gz", "b_1.nii.gz"],
            "subject": "s2",
            "masks": {
                "left eye": {"file": "b.nii.gz", "channel": 0},
                "brain": {"file": "labels/b.nii.gz", "values": [1, 3]},
                "body": {"file": "body/b.nii.gz"},
            },
        },
    ],
    "validation": [{"image": "c.nii.gz", "subject": "s3"}],
}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def scan(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "training": [{**SCAN, **changes}]}


def test_what_is_annotated_and_where_its_mask_lies(tmp_path: Path) -> None:
    data = read_datalist(write(tmp_path / "d.json", GOOD))
    assert data.regions == ["body", "brain", "left eye"]
    assert [len(data.scans(split)) for split in ("training", "validation", "test")] == [2, 1, 0]
    first, second = data.training
    assert first.source("body") == MaskSource(file="body/a.nii.gz")
    with pytest.raises(KeyError):
        first.source("brain")  # unknown, not empty
    assert second.source("brain").values == [1, 3]
    assert second.source("left eye").channel == 0
    assert data.validation[0].masks == {}


def test_round_trip(tmp_path: Path) -> None:
    data = read_datalist(write(tmp_path / "d.json", GOOD))
    target = tmp_path / "new" / "folder" / "e.json"
    write_datalist(data, target)
    assert read_datalist(target) == data
    assert [file.name for file in target.parent.iterdir()] == ["e.json"]
    assert target.read_text().startswith('{\n    "name": "fetal scans",\n')
    assert "null" not in target.read_text()


def test_absent_annotated_and_partly_known_regions(tmp_path: Path) -> None:
    masks = {
        "body": {"file": "l.nii", "values": [1], "ignore": 255},
        "brain": {"absent": True},
        "left eye": {"file": "x.seg.nrrd", "segment": "Left Eye", "known": "known/a.nii"},
    }
    data = read_datalist(write(tmp_path / "d.json", scan(masks=masks)))
    first = data.training[0]
    assert (first.annotated, first.absent) == ({"body", "left eye"}, {"brain"})
    assert first.source("body").ignore == [255]
    assert first.source("brain") == MaskSource(absent=True)
    write_datalist(data, tmp_path / "e.json")
    assert read_datalist(tmp_path / "e.json") == data
    assert scan_items(data, "training", tmp_path)[0]["masks"] == {
        "body": {"file": f"{tmp_path}/l.nii", "values": [1], "ignore": [255]},
        "brain": {"absent": True},
        "left eye": {"file": f"{tmp_path}/x.seg.nrrd", "segment": "Left Eye", "known": f"{tmp_path}/known/a.nii"},
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"regions": ["a"],', r"d\.json: not valid JSON \(line 1: "),
        ("[]", "d.json: "),
        ({"training": [SCAN]}, "d.json: regions: Field required"),
        ({"regions": []}, "d.json: 'regions' is empty"),
        ({"regions": ["a", "b", "a"]}, "'regions' names the region 'a' twice"),
        ({**GOOD, "trainig": []}, "trainig: Extra inputs are not permitted"),
        ({**GOOD, "regions": ["brain"]}, r"training\[0\] annotates 'body', which 'regions' does not name"),
        ({**GOOD, "name": 5}, "name: Input should be a valid string"),
        (scan(image=None), "training.0.image: "),
        ({**GOOD, "training": [{"image": "a.nii.gz"}]}, "training.0.subject: Field required"),
        (scan(subject=1), "training.0.subject: Input should be a valid string"),
        (scan(mask={}), "training.0.mask: Extra inputs are not permitted"),
        (scan(masks={"body": {"file": "m", "values": [1], "channel": 0}}), "'values' or 'channel', not both"),
        (scan(masks={"body": {"file": "m", "values": []}}), "'values' is empty: leave the region out"),
        (scan(masks={"body": {"file": "m", "values": [1.5]}}), r"masks.body.values.0: Input should be a valid integer"),
        (scan(masks={"body": {"file": "m", "values": ["1"]}}), r"masks.body.values.0: Input should be a valid integer"),
        (scan(masks={"body": {"file": "m", "channel": -1}}), "'channel' counts from 0"),
        (scan(masks={"body": {"channel": 0}}), r"masks.body: 'file' is missing"),
        (scan(masks={"body": None}), "training.0.masks.body"),
        (scan(masks={"body": {"absent": False}}), "masks.body: 'absent' can only be true; leave the region out"),
        (scan(masks={"body": {"absent": True, "ignore": 2}}), "masks.body: 'ignore' without a 'file'"),
        (scan(masks={"body": {"absent": 1}}), "masks.body.absent: Input should be a valid boolean"),
        (scan(masks={"body": {"file": "m", "ignore": 1}}), "'ignore' names 1, which is the region itself"),
        (
            scan(masks={"body": {"file": "m", "values": [2, 3], "ignore": [4, 3]}}),
            "'ignore' names 3, which is the region",
        ),
        (scan(masks={"body": {"file": "m", "ignore": []}}), "'ignore' is empty"),
        (scan(masks={"body": {"file": "m", "ignore": 2.5}}), "masks.body.ignore: Input should be a valid list"),
        (scan(masks={"body": {"file": "m", "ignore": True}}), "masks.body.ignore: Input should be a valid list"),
        (
            scan(masks={"body": {"file": "m.nii", "segment": "body"}}),
            "'segment' is the name of a segment of a .seg.nrrd",
        ),
        (
            scan(masks={"body": {"file": "m.seg.nrrd", "segment": "b", "channel": 0}}),
            "'channel' or 'segment', not both",
        ),
        (
            scan(masks={"body": {"file": "m.seg.nrrd", "segment": "b", "ignore": 2}}),
            "with a 'segment', give a file 'known'",
        ),
    ],
)
def test_bad_datalists_name_the_file_and_the_entry_in_one_line(tmp_path: Path, content: Any, message: str) -> None:
    file = write(tmp_path / "d.json", content)
    with pytest.raises(UserError, match=message) as caught:
        read_datalist(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../body", "a/b", "$import os", "@plan", "%x", "", " body", "body ", ".hidden", "_a", "a\nb", "a:b"]
)
def test_region_names_that_are_no_file_names_or_mean_something_to_a_config(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="region name"):
        read_datalist(write(tmp_path / "d.json", {"regions": [name]}))


@pytest.mark.parametrize("name", ["body", "left eye", "T1-lesion_2.0", "3rd ventricle", "Gehirn-Größe"])
def test_region_names(tmp_path: Path, name: str) -> None:
    assert read_datalist(write(tmp_path / "d.json", {"regions": [name]})).regions == [name]


def test_a_datalist_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.json: cannot read the datalist \(No such file"):
        read_datalist(tmp_path / "absent.json")
    (tmp_path / "latin.json").write_bytes(b'{"name": "\xe9"}')
    with pytest.raises(UserError, match=r"latin\.json: cannot read the datalist \(not UTF-8 text\)"):
        read_datalist(tmp_path / "latin.json")
    for nothing in (None, ""):
        with pytest.raises(UserError, match="pass --datalist FILE"):
            read_datalist(nothing)


def test_items_have_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    items = scan_items(Datalist.model_validate(GOOD), "training", tmp_path.name)
    assert items == [
        {
            "image": f"{tmp_path}/a.nii.gz",
            "name": "a",
            "subject": "s1",
            "masks": {"body": {"file": f"{tmp_path}/body/a.nii.gz"}},
        },
        {
            "image": [f"{tmp_path}/b_0.nii.gz", f"{tmp_path}/b_1.nii.gz"],
            "name": "b_0",
            "subject": "s2",
            "masks": {
                "body": {"file": f"{tmp_path}/body/b.nii.gz"},
                "brain": {"file": f"{tmp_path}/labels/b.nii.gz", "values": [1, 3]},
                "left eye": {"file": f"{tmp_path}/b.nii.gz", "channel": 0},
            },
        },
    ]
    assert list(items[1]["masks"]) == ["body", "brain", "left eye"]  # channel order


def test_absolute_paths_stay(tmp_path: Path) -> None:
    data = Datalist.model_validate(scan(image="/data/a.nii.gz"))
    assert scan_items(data, "training", tmp_path)[0]["image"] == "/data/a.nii.gz"


def test_scans_without_annotation_are_left_out(tmp_path: Path) -> None:
    data = Datalist.model_validate(GOOD)
    assert scan_items(data, "validation", tmp_path) == []
    with pytest.raises(UserError, match="no annotated scan in 'validation'"):
        scan_items(data, "validation", tmp_path, needed=True)


def test_unknown_split_and_missing_folder(tmp_path: Path) -> None:
    data = Datalist.model_validate(GOOD)
    with pytest.raises(UserError, match="split 'train': use one of training, validation, test"):
        scan_items(data, "train", tmp_path)
    with pytest.raises(UserError, match="absent: no such folder; pass --dataset_dir"):
        scan_items(data, "training", tmp_path / "absent")


def test_names_are_unique(tmp_path: Path) -> None:
    images = ["x/scan.nii.gz", "y/scan.nii.gz", "y/z/scan.nrrd", "other.nii"]
    scans = [Scan(image=image, subject=image, masks={"a": "m"}) for image in images]
    names = [i["name"] for i in scan_items(Datalist(regions=["a"], training=scans), "training", tmp_path)]
    assert names == ["x_scan", "y_scan", "y_z_scan", "other"]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("f/a.nii.gz", "a"),
        ("a.b.NII.GZ", "a.b"),
        ("a.seg.nrrd", "a"),
        ("a.mha", "a"),
        ("dicom.folder", "dicom.folder"),
        (["a_0000.nii.gz", "a_0001.nii.gz"], "a_0000"),
    ],
)
def test_scan_name(image: str | list[str], name: str) -> None:
    assert scan_name(image) == name


def test_a_datalist_says_where_its_paths_start(tmp_path: Path) -> None:
    """`scans_folder` undoes `stored_folder`, wherever the two lie; together they can be moved."""
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for file, root, stored in [
        ("a/d.json", "a", None),
        ("a/d.json", "a/b/c", "b/c"),
        ("a/b/c/d.json", "a", "../.."),
        ("other/d.json", "a", str((tmp_path / "a").resolve())),
    ]:
        path = tmp_path / file
        told = stored_folder(path, tmp_path / root)
        assert told == stored
        data = Datalist(regions=["r"], dataset_dir=told)
        write_datalist(data, path)
        assert scans_folder(path, read_datalist(path)).resolve() == (tmp_path / root).resolve()
        assert scans_folder(path, data, tmp_path / "x") == tmp_path / "x"
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b" / "c", target_is_directory=True)
    data = Datalist(regions=["r"], dataset_dir=stored_folder(tmp_path / "link" / "d.json", tmp_path / "a"))
    assert data.dataset_dir == "../.."
    assert scans_folder(tmp_path / "link" / "d.json", data) == (tmp_path / "a").resolve()
    (tmp_path / "a").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "b" / "c" / "d.json"
    assert scans_folder(moved, read_datalist(moved)) == (tmp_path / "moved").resolve()


def test_one_subject_is_one_however_its_name_is_typed() -> None:
    names = ["Zo\u00eb", "Zoe\u0308", " Zo\u00eb "]
    assert {Scan(image="a.nii", subject=name).subject for name in names} == {"Zo\u00eb"}
    with pytest.raises(ValidationError):
        Scan(image="a.nii", subject="  ")
