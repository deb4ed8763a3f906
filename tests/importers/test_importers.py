from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.cli.datalist import datalist
from conemos_bundle.data.annotated import annotated_scans
from conemos_bundle.data.datalist import SPLITS, Datalist, MaskSource, Scan
from conemos_bundle.errors import UserError

REGIONS = {"whole": [1, 2], "front": [1]}
SCANS = ("images/a.nii.gz", "images/b.nrrd", "images/c.mha", "images/d.nii", "images/._a.nii.gz", "images/notes.txt")
MASKS = ("uterus/a.nii.gz", "uterus/b.nrrd", "brain/b.nrrd", "brain/c.mha", "brain/.DS_Store")
FOLDERS = dict.fromkeys((*SCANS, *(f"masks/{mask}" for mask in MASKS)), "")
TABLE = "scan,split,subject,whole,front\na,train,x,0,1\nb,val,y,1,\nc,test,z,1,1\nd,training,x,0,0\n"
LABELED = {
    **dict.fromkeys((f"images/{name}.nii.gz" for name in "abcde"), ""),
    **dict.fromkeys((f"labels/{name}.nii.gz" for name in "abc"), ""),
    "table.csv": TABLE,
}


def all_scans(data: Datalist) -> dict[str, Scan]:
    scans = [scan for split in SPLITS for scan in data.scans(split)]
    return {str(scan.image): scan for scan in scans}


def test_folders_annotate_a_region_where_its_mask_exists(imported: Callable[..., Datalist]) -> None:
    data = imported(FOLDERS, validation=0, test=0)
    assert data.name == "data"
    assert data.regions == ["brain", "uterus"]
    assert {scan.image: scan.masks for scan in data.training} == {
        "images/a.nii.gz": {"uterus": "masks/uterus/a.nii.gz"},
        "images/b.nrrd": {"uterus": "masks/uterus/b.nrrd", "brain": "masks/brain/b.nrrd"},
        "images/c.mha": {"brain": "masks/brain/c.mha"},
        "images/d.nii": {},
    }
    assert [scan.subject for scan in data.training] == ["a", "b", "c", "d"]


def test_folders_take_regions_in_the_asked_order(imported: Callable[..., Datalist]) -> None:
    assert imported(FOLDERS, regions=["uterus", "brain"]).regions == ["uterus", "brain"]
    only = imported(FOLDERS, regions="uterus", validation=0, test=0)
    assert only.regions == ["uterus"]
    assert [list(scan.masks) for scan in only.training] == [["uterus"], ["uterus"], [], []]


def test_masks_whose_voxels_lie_beside_them(imported: Callable[..., Datalist]) -> None:
    header = "NDims = 3\nDimSize = 1 1 1\nElementSize = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = d.raw\n"
    data = imported({**FOLDERS, "masks/brain/d.mhd": header, "masks/brain/d.raw": "1"}, validation=0, test=0)
    assert data.training[3].masks == {"brain": "masks/brain/d.mhd"}


def test_scans_without_any_mask_of_these_regions_are_told(
    imported: Callable[..., Datalist], capsys: pytest.CaptureFixture[str]
) -> None:
    imported(FOLDERS, regions="uterus", validation=0, test=0)
    assert "scans without any mask of these regions, in 'training' and not used: 2" in capsys.readouterr().out
    imported({**FOLDERS, "masks/brain/d.nii": ""}, validation=0, test=0)
    assert "without any mask" not in capsys.readouterr().out


def test_csv_says_what_is_annotated_and_the_split(
    source: Path, imported: Callable[..., Datalist], capsys: pytest.CaptureFixture[str]
) -> None:
    data = imported(LABELED, csv="table.csv", regions=REGIONS)
    assert data.regions == ["whole", "front"]
    assert data.training == [
        Scan(image="images/a.nii.gz", subject="x", masks={"front": MaskSource(file="labels/a.nii.gz", values=[1])}),
        Scan(image="images/d.nii.gz", subject="x"),
    ]
    assert [list(scan.masks) for scan in data.validation + data.test] == [["whole"], ["whole", "front"]]
    out = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert out == [
        f"{source / 'table.csv'} does not list 1 of the images (first e): left out",
        "scans whole front",
        "training 2 0 1",
        "validation 1 1 0",
        "test 1 1 1",
        "scans without any mask of these regions, in 'training' and not used: 1",
        f"wrote {Path.cwd() / 'datalist.json'}",
        "next: conemos check datalist.json",
    ]


def test_csv_without_split_and_subject_is_split_by_scan_name(source: Path, imported: Callable[..., Datalist]) -> None:
    files = LABELED | {"table.csv": "\ufeffscan, whole ,front\n a,1,0\nb,1,0\nc,1,1\n"}
    data = imported(files, csv=str(source / "table.csv"), regions=REGIONS)
    assert sorted(scan.subject for scan in all_scans(data).values()) == ["a", "b", "c"]
    assert [len(data.scans(split)) for split in SPLITS] == [2, 0, 1]


def test_csv_says_what_is_absent(imported: Callable[..., Datalist]) -> None:
    files = LABELED | {"table.csv": "scan,split,whole,front\na,train,1,absent\nb,train,Absent,\nc,train,0,1\n"}
    del files["labels/b.nii.gz"]  # what is absent needs no file
    data = imported(files, csv="table.csv", regions=REGIONS)
    assert [(scan.annotated, scan.absent) for scan in data.training] == [
        ({"whole"}, {"front"}),
        (set(), {"whole"}),
        ({"front"}, set()),
    ]
    assert data.training[0].source("front") == MaskSource(absent=True)


@pytest.mark.parametrize(("ignore", "expected"), [(255, [255]), ([9, 7], [7, 9])])
def test_values_to_ignore(imported: Callable[..., Datalist], ignore: Any, expected: list[int]) -> None:
    files = LABELED | {"table.csv": "scan,split,whole,front\na,train,1,absent\n"}
    masks = imported(files, csv="table.csv", regions=REGIONS, ignore=ignore).training[0]
    assert masks.source("whole") == MaskSource(file="labels/a.nii.gz", values=REGIONS["whole"], ignore=expected)
    assert masks.source("front") == MaskSource(absent=True)


def test_values_to_ignore_in_folders_of_masks(imported: Callable[..., Datalist]) -> None:
    folders = imported(FOLDERS, ignore=255, validation=0, test=0)
    assert folders.training[0].source("uterus") == MaskSource(file="masks/uterus/a.nii.gz", ignore=[255])


@pytest.mark.parametrize(
    ("ignore", "reason"), [(1, "'ignore' names 1, which is the region"), (["a", 2], "pass integers")]
)
def test_values_that_cannot_be_ignored(refusal: Callable[..., str], ignore: Any, reason: str) -> None:
    assert reason in refusal(FOLDERS, ignore=ignore)


def test_names_in_a_csv_stay_text(imported: Callable[..., Datalist]) -> None:
    files = {"images/004.nii.gz": "", "labels/004.nii.gz": "", "table.csv": "scan,split,front\n004,train,1\n"}
    assert imported(files, csv="table.csv", regions={"front": 1}).training[0].image == "images/004.nii.gz"


def test_paths_start_at_dataset_dir(
    source: Path, imported: Callable[..., Datalist], capsys: pytest.CaptureFixture[str]
) -> None:
    data = imported(FOLDERS, dataset_dir=str(source.parent), output=str(source.parent / "list.json"))
    assert "data/images/a.nii.gz" in all_scans(data)
    assert "data/masks/uterus/a.nii.gz" in all_scans(data)["data/images/a.nii.gz"].masks.values()
    assert "--dataset_dir" not in capsys.readouterr().out


def test_no_hint_where_the_datalist_lies_with_its_data(
    source: Path, imported: Callable[..., Datalist], capsys: pytest.CaptureFixture[str]
) -> None:
    imported(FOLDERS, output=str(source / "datalist.json"))
    assert "--dataset_dir" not in capsys.readouterr().out


def test_the_table_counts_scans_and_annotations() -> None:
    annotated = [[], ["a"], ["a", "b"]]
    scans = [
        Scan(image=f"{i}.nii", subject=f"{i}", masks=dict.fromkeys(its, "m.nii")) for i, its in enumerate(annotated)
    ]
    data = Datalist(regions=["a", "b"], training=scans)
    assert [line.split() for line in annotated_scans(data).splitlines()] == [
        ["scans", "a", "b"],
        ["training", "3", "2", "1"],
        ["validation", "0", "0", "0"],
        ["test", "0", "0", "0"],
    ]


CSV = {"csv": "table.csv", "regions": REGIONS}
BAD: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("unknown layout", {}, {}, "data: holds neither a folder 'masks' nor dataset.json"),
    ("unknown kind", FOLDERS, {"kind": "bids"}, "--kind bids: use one of folders, decathlon, nnunet, csv"),
    ("output is a folder", FOLDERS, {"output": ".."}, "..: is a folder"),
    (
        "output cannot be made",
        FOLDERS,
        {"output": "/dev/null/list.json"},
        "/dev/null/list.json: cannot be written (Not a directory)",
    ),
    ("no dataset_dir", FOLDERS, {"dataset_dir": "gone"}, "gone: no such folder"),
    ("dataset_dir elsewhere", FOLDERS, {"dataset_dir": "."}, ": lies outside"),
    ("validation is no number", FOLDERS, {"validation": "few"}, "--validation few: pass a part of the subjects"),
    ("negative test", FOLDERS, {"test": -0.1}, "--test -0.1: pass a part of the subjects"),
    ("nothing to train", FOLDERS, {"validation": 0.5, "test": 0.5}, "leave no subject for training"),
    ("seed is no integer", FOLDERS, {"seed": "x"}, "--seed x: pass an integer"),
    ("broken subject", FOLDERS, {"subject": "(a"}, "--subject (a: not a regular expression"),
    ("subject without group", FOLDERS, {"subject": "a.*"}, "--subject a.*: has 0 groups"),
    ("subject does not match", FOLDERS, {"subject": "(a)"}, "scan b: --subject (a) finds no subject"),
    ("csv for folders", FOLDERS, {"kind": "folders", "csv": "t.csv"}, "--csv t.csv: does not go with --kind folders"),
    ("no images folder", {"masks/uterus/a.nii": ""}, {}, "images: no such folder"),
    (
        "no images",
        {"masks/uterus/a.nii": "", "images/notes.txt": ""},
        {},
        "images: no images (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd)",
    ),
    ("no masks folder", {"images/a.nii": ""}, {"kind": "folders"}, "masks: no such folder"),
    ("no region folder", {"images/a.nii": "", "masks/.x": None}, {}, "masks: no folder of a region"),
    (
        "mask beside the regions",
        FOLDERS | {"masks/a.nii.gz": ""},
        {},
        "masks/a.nii.gz: a mask must lie in the folder of its region",
    ),
    ("mask without image", FOLDERS | {"masks/brain/z.nii": ""}, {}, "masks/brain/z.nii: this mask matches no image"),
    ("mask of another kind", FOLDERS | {"masks/brain/a.png": ""}, {}, "masks/brain/a.png: this mask matches no image"),
    ("two masks", FOLDERS | {"masks/brain/b.mha": ""}, {}, "brain/b.nrrd: a second mask of this scan and region"),
    ("two images of one name", FOLDERS | {"images/a.mha": ""}, {}, "images/a.nii.gz: has the same name as a.mha"),
    (
        "name of a region folder",
        FOLDERS | {"masks/$x/a.nii.gz": ""},
        {},
        "masks: '$x' cannot name a region: region name '$x': use",
    ),
    (
        "asked region without folder",
        FOLDERS,
        {"regions": ["liver"]},
        "masks/liver: no such folder, but --regions names 'liver'",
    ),
    (
        "asked region leaves the folder",
        FOLDERS,
        {"regions": ["../images"]},
        "--regions: '../images' cannot name a region",
    ),
    ("values for folders", FOLDERS, {"regions": REGIONS}, "--regions: folders of masks have no label values"),
    ("csv not given", LABELED, {"kind": "csv"}, "--kind csv needs --csv TABLE"),
    ("csv missing", LABELED, CSV | {"csv": "no.csv"}, "no.csv: no such file"),
    ("csv empty", LABELED | {"table.csv": ""}, CSV, "table.csv: cannot read this table (No columns"),
    ("csv of a header", LABELED | {"table.csv": "scan,split,whole,front\n"}, CSV, "table.csv: lists no scan"),
    (
        "csv with a long row",
        LABELED | {"table.csv": "scan,whole,front\na,1,0,1\n"},
        CSV,
        "table.csv: cannot read this table",
    ),
    ("csv without regions", LABELED, {"csv": "table.csv"}, "--regions: pass the label values of each region"),
    (
        "unknown column",
        LABELED | {"table.csv": "scan,whole,front,age\na,1,0,3\n"},
        CSV,
        "table.csv: column 'age' is neither",
    ),
    (
        "column twice",
        LABELED | {"table.csv": "scan,whole,front,front\na,1,0,0\n"},
        CSV,
        "table.csv: has the column 'front' twice",
    ),
    (
        "no scan column",
        LABELED | {"table.csv": "name;whole;front\na;1;0\n"},
        CSV,
        "table.csv: column 'name;whole;front' is neither",
    ),
    ("region without column", LABELED | {"table.csv": "scan,whole\na,1\n"}, CSV, "table.csv: has no column 'front'"),
    (
        "unknown split",
        LABELED | {"table.csv": "scan,split,whole,front\na,trian,1,0\n"},
        CSV,
        "table.csv, row 2: split 'trian': write one of train",
    ),
    ("empty split", LABELED | {"table.csv": "scan,split,whole,front\na,,1,0\n"}, CSV, "table.csv, row 2: split ''"),
    (
        "scan twice",
        LABELED | {"table.csv": "scan,whole,front\nb,1,0\na,1,0\nb,0,1\n"},
        CSV,
        "table.csv, row 2: scan 'b' is listed twice",
    ),
    (
        "scan without image",
        LABELED | {"table.csv": "scan,whole,front\na,1,0\nz,1,0\n"},
        CSV,
        "table.csv, row 3: scan 'z' has no image",
    ),
    (
        "scan without label map",
        LABELED | {"table.csv": "scan,whole,front\ne,1,0\n"},
        CSV,
        "table.csv, row 2: scan 'e' is annotated, but has no label map",
    ),
    (
        "neither 0 nor 1",
        LABELED | {"table.csv": "scan,whole,front\na,1,2\n"},
        CSV,
        "table.csv, row 2: 'front' is '2'; write 1",
    ),
    (
        "no subject",
        LABELED | {"table.csv": "scan,subject,whole,front\na,,1,0\n"},
        CSV,
        "table.csv, row 2: scan 'a' has no subject",
    ),
]


@pytest.mark.parametrize(("files", "options", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_gives_one_line_and_writes_nothing(
    files: dict[str, Any], options: dict[str, Any], words: str, refusal: Callable[..., str]
) -> None:
    assert words in refusal(files, **options)


def test_a_missing_source_is_a_user_error(source: Path) -> None:
    with pytest.raises(UserError, match="gone: no such folder"):
        datalist("gone")
