from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.commands.datalist import annotated_scans, datalist
from conemos_bundle.data.datalist import SPLITS, Datalist, MaskSource, Scan, read_datalist
from conemos_bundle.errors import UserError

REGIONS = {"whole": [1, 2], "front": [1]}


def touch(folder: Path, *names: str) -> None:
    """Empty files: the importers look at names only."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def describe(folder: Path, **content: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(content))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for a data set; the commands run in another one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def folders(source: Path) -> None:
    touch(source / "images", "a.nii.gz", "b.nrrd", "c.mha", "d.nii", "._a.nii.gz", "notes.txt")
    touch(source / "masks", "uterus/a.nii.gz", "uterus/b.nrrd", "brain/b.nrrd", "brain/c.mha", "brain/.DS_Store")


def decathlon(source: Path) -> None:
    touch(
        source,
        *(f"{kind}Tr/h_{number}.nii.gz" for kind in ("images", "labels") for number in "123"),
        "imagesTs/h_4.nii.gz",
    )
    describe(
        source,
        name="Hippocampus",
        licence="CC-BY-SA 4.0",
        modality={"0": "MRI"},
        labels={"0": "background", "1": "front", "2": "back"},
        training=[{"image": f"./imagesTr/h_{n}.nii.gz", "label": f"./labelsTr/h_{n}.nii.gz"} for n in "123"],
        test=["./imagesTs/h_4.nii.gz"],
    )


NNUNET = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "core": [2, 3], "whole": [1, 2, 3], "edge": 3, "ignore": 4},
    "file_ending": ".nii.gz",
}


def nnunet(source: Path) -> None:
    for split, cases in (("Tr", ("p1_a", "p1_b", "p2_a")), ("Ts", ("p3_a", "p4_a"))):
        touch(source, *(f"images{split}/{case}_{channel}.nii.gz" for case in cases for channel in ("0000", "0001")))
    touch(source / "labelsTr", "p1_a.nii.gz", "p1_b.nii.gz", "p2_a.nii.gz")
    touch(source / "labelsTs", "p3_a.nii.gz")
    describe(source, **NNUNET)


TABLE = "scan,split,subject,whole,front\na,train,x,0,1\nb,val,y,1,\nc,test,z,1,1\nd,training,x,0,0\n"


def labelled(source: Path) -> None:
    touch(source, *(f"images/{name}.nii.gz" for name in "abcde"), *(f"labels/{name}.nii.gz" for name in "abc"))
    (source / "table.csv").write_text(TABLE)


def written(source: Path, **options: Any) -> Datalist:
    datalist(str(source), **options)
    return read_datalist(options.get("output", "datalist.json"))


def all_scans(data: Datalist) -> dict[str, Scan]:
    scans = [scan for split in SPLITS for scan in data.scans(split)]
    return {str(scan.image): scan for scan in scans}


def test_folders_annotate_a_region_where_its_mask_exists(source: Path) -> None:
    folders(source)
    data = written(source, validation=0, test=0)
    assert data.name == "data"
    assert data.regions == ["brain", "uterus"]
    assert {scan.image: scan.masks for scan in data.training} == {
        "images/a.nii.gz": {"uterus": "masks/uterus/a.nii.gz"},
        "images/b.nrrd": {"uterus": "masks/uterus/b.nrrd", "brain": "masks/brain/b.nrrd"},
        "images/c.mha": {"brain": "masks/brain/c.mha"},
        "images/d.nii": {},
    }
    assert [scan.subject for scan in data.training] == ["a", "b", "c", "d"]


def test_folders_take_regions_in_the_asked_order(source: Path) -> None:
    folders(source)
    assert written(source, regions=["uterus", "brain"]).regions == ["uterus", "brain"]
    only = written(source, regions="uterus", validation=0, test=0)
    assert only.regions == ["uterus"]
    assert [list(scan.masks) for scan in only.training] == [["uterus"], ["uterus"], [], []]


def test_decathlon_annotates_every_label(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decathlon(source)
    data = written(source, validation=0, test=0, reference="Antonelli 2022", name="mine")
    assert (data.name, data.licence, data.modality, data.reference) == ("mine", "CC-BY-SA 4.0", "MRI", "Antonelli 2022")
    assert data.regions == ["front", "back"]
    assert data.training[1] == Scan(
        image="imagesTr/h_2.nii.gz",
        subject="h_2",
        masks={
            "front": MaskSource(file="labelsTr/h_2.nii.gz", values=[1]),
            "back": MaskSource(file="labelsTr/h_2.nii.gz", values=[2]),
        },
    )
    assert len(all_scans(data)) == 3
    assert "lists 1 test images without labels: left out" in capsys.readouterr().out


def test_asked_regions_are_unions_of_labels(source: Path) -> None:
    decathlon(source)
    data = written(source, regions={"front": 1, "whole": (1, 2)})
    assert data.regions == ["front", "whole"]
    for scan in all_scans(data).values():
        assert {region: scan.source(region).values for region in scan.masks} == {"front": [1], "whole": [1, 2]}


def test_nnunet_reads_channels_overlapping_regions_and_labelled_test_cases(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nnunet(source)
    data = written(source, subject="^(p[0-9])_", validation=0.4)
    assert data.regions == ["whole", "core", "edge"]  # outer first; neither background nor ignore
    assert data.modality == "T1, T2"
    assert [scan.image for scan in data.test] == [["imagesTs/p3_a_0000.nii.gz", "imagesTs/p3_a_0001.nii.gz"]]
    assert {region: data.test[0].source(region).values for region in data.regions} == {
        "whole": [1, 2, 3],
        "core": [2, 3],
        "edge": [3],
    }
    assert data.test[0].source("core").file == "labelsTs/p3_a.nii.gz"
    assert sorted(scan.subject for scan in data.training + data.validation) == ["p1", "p1", "p2"]
    assert len(data.validation) in (1, 2)
    assert "label 'ignore' (4) is no region" in capsys.readouterr().out


def test_nnunet_of_one_channel_is_one_file_and_a_case_without_labels_is_unknown(source: Path) -> None:
    touch(source, "imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", "labelsTr/a.nii.gz")
    describe(source, channel_names={"0": "CT"}, labels={"background": 0, "liver": 1}, file_ending=".nii.gz")
    data = written(source)
    assert [(scan.image, scan.subject, list(scan.masks)) for scan in data.training] == [
        ("imagesTr/a_0000.nii.gz", "a", ["liver"]),
        ("imagesTr/b_0000.nii.gz", "b", []),
    ]


def test_nnunet_with_labelled_test_cases_divides_the_others_in_two(source: Path) -> None:
    touch(source, *(f"{path}.nii.gz" for n in range(20) for path in (f"imagesTr/c{n}_0000", f"labelsTr/c{n}")))
    touch(source, "imagesTs/t_0000.nii.gz", "labelsTs/t.nii.gz")
    describe(source, channel_names={"0": "CT"}, labels={"background": 0, "liver": 1}, file_ending=".nii.gz")
    data = written(source)
    assert {split: len(data.scans(split)) for split in SPLITS} == {"training": 17, "validation": 3, "test": 1}
    assert data.test[0].subject == "t"


def test_csv_says_what_is_annotated_and_the_split(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled(source)
    data = written(source, csv="table.csv", regions=REGIONS)
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
        f"wrote {Path.cwd() / 'datalist.json'}",
        f"the paths in it start at {source}: pass --dataset_dir {source} wherever you use it",
    ]


def test_csv_without_split_and_subject_is_split_by_scan_name(source: Path) -> None:
    labelled(source)
    (source / "table.csv").write_text("\ufeffscan, whole ,front\n a,1,0\nb,1,0\nc,1,1\n", encoding="utf-8")
    data = written(source, csv=str(source / "table.csv"), regions=REGIONS)
    assert sorted(scan.subject for scan in all_scans(data).values()) == ["a", "b", "c"]
    assert [len(data.scans(split)) for split in SPLITS] == [2, 0, 1]


def test_names_in_a_csv_stay_text(source: Path) -> None:
    touch(source, "images/004.nii.gz", "labels/004.nii.gz")
    (source / "table.csv").write_text("scan,split,front\n004,train,1\n")
    assert written(source, csv="table.csv", regions={"front": 1}).training[0].image == "images/004.nii.gz"


def test_paths_start_at_dataset_dir(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders(source)
    data = written(source, dataset_dir=str(source.parent), output=str(source.parent / "list.json"))
    assert "data/images/a.nii.gz" in all_scans(data)
    assert "data/masks/uterus/a.nii.gz" in all_scans(data)["data/images/a.nii.gz"].masks.values()
    assert "--dataset_dir" not in capsys.readouterr().out


def test_no_hint_where_the_datalist_lies_with_its_data(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders(source)
    written(source, output=str(source / "datalist.json"))
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


def without(make: Callable[[Path], None], *names: str) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        make(source)
        for name in names:
            (source / name).unlink()

    return change


def plus(make: Callable[[Path], None], *names: str) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        make(source)
        touch(source, *names)

    return change


def with_json(make: Callable[[Path], None], **changes: Any) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        make(source)
        content = json.loads((source / "dataset.json").read_text()) | changes
        describe(source, **{key: value for key, value in content.items() if value is not None})

    return change


def with_text(make: Callable[[Path], None], name: str, text: str) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        make(source)
        (source / name).write_text(text)

    return change


def table(text: str) -> Callable[[Path], None]:
    return with_text(labelled, "table.csv", text)


def nothing(source: Path) -> None:
    pass


CSV = {"csv": "table.csv", "regions": REGIONS}
OUTSIDE = {"image": "../here/x.nii", "label": "../here/x.nii"}
BAD: list[tuple[str, Callable[[Path], None], dict[str, Any], str]] = [
    ("unknown layout", nothing, {}, "data: holds neither a folder 'masks' nor dataset.json"),
    ("unknown kind", folders, {"kind": "bids"}, "--kind bids: use one of folders, decathlon, nnunet, csv"),
    ("output is a folder", folders, {"output": ".."}, "..: is a folder"),
    ("output cannot be made", folders, {"output": "/dev/null/list.json"}, "/dev/null/list.json: cannot write it"),
    ("no dataset_dir", folders, {"dataset_dir": "gone"}, "gone: no such folder"),
    ("dataset_dir elsewhere", folders, {"dataset_dir": "."}, ": lies outside"),
    ("validation is no number", folders, {"validation": "few"}, "--validation few: pass a part of the subjects"),
    ("negative test", folders, {"test": -0.1}, "--test -0.1: pass a part of the subjects"),
    ("nothing to train", folders, {"validation": 0.5, "test": 0.5}, "leave no subject for training"),
    ("seed is no integer", folders, {"seed": "x"}, "--seed x: pass an integer"),
    ("broken subject", folders, {"subject": "(a"}, "--subject (a: not a regular expression"),
    ("subject without group", folders, {"subject": "a.*"}, "--subject a.*: has 0 groups"),
    ("subject does not match", folders, {"subject": "(a)"}, "scan b: --subject (a) finds no subject"),
    ("csv for folders", folders, {"kind": "folders", "csv": "t.csv"}, "--csv t.csv: does not go with --kind folders"),
    ("no images folder", plus(nothing, "masks/uterus/a.nii"), {}, "images: no such folder"),
    (
        "no images",
        plus(nothing, "masks/uterus/a.nii", "images/notes.txt"),
        {},
        "images: no images (.nii, .nii.gz, .nrrd, .mha)",
    ),
    ("no masks folder", plus(nothing, "images/a.nii"), {"kind": "folders"}, "masks: no such folder"),
    (
        "no region folder",
        without(plus(nothing, "images/a.nii", "masks/.x"), "masks/.x"),
        {},
        "masks: no folder of a region",
    ),
    (
        "mask beside the regions",
        plus(folders, "masks/a.nii.gz"),
        {},
        "masks/a.nii.gz: a mask must lie in the folder of its region",
    ),
    ("mask without image", plus(folders, "masks/brain/z.nii"), {}, "masks/brain/z.nii: this mask matches no image"),
    ("mask of another kind", plus(folders, "masks/brain/a.png"), {}, "masks/brain/a.png: this mask matches no image"),
    ("two masks", plus(folders, "masks/brain/b.mha"), {}, "brain/b.nrrd: a second mask of this scan and region"),
    ("two images of one name", plus(folders, "images/a.mha"), {}, "images/a.nii.gz: has the same name as a.mha"),
    (
        "name of a region folder",
        plus(folders, "masks/$x/a.nii.gz"),
        {},
        "masks: '$x' cannot name a region: region name '$x': use",
    ),
    (
        "asked region without folder",
        folders,
        {"regions": ["liver"]},
        "masks/liver: no such folder, but --regions names 'liver'",
    ),
    (
        "asked region leaves the folder",
        folders,
        {"regions": ["../images"]},
        "--regions: '../images' cannot name a region",
    ),
    ("values for folders", folders, {"regions": REGIONS}, "--regions: folders of masks have no label values"),
    ("no dataset.json", folders, {"kind": "nnunet"}, "dataset.json: cannot read it (No such file"),
    ("dataset.json is no JSON", with_text(nothing, "dataset.json", "{"), {}, "dataset.json: not valid JSON"),
    ("dataset.json is a list", with_text(nothing, "dataset.json", "[]"), {}, "dataset.json: must be a JSON object"),
    ("no labels", with_json(decathlon, labels=None), {}, "dataset.json: labels: Field required"),
    ("label value is no number", with_json(decathlon, labels={"front": "1"}), {}, "labels: 'front' is no label value"),
    ("background only", with_json(decathlon, labels={"0": "background"}), {}, "labels: name at least one label"),
    ("label's name", with_json(decathlon, labels={"1": "a/b"}), {}, "dataset.json: 'a/b' cannot name a region"),
    ("training is empty", with_json(decathlon, training=[]), {}, "dataset.json: training: List should have at least 1"),
    (
        "entry without label",
        with_json(decathlon, training=[{"image": "a"}]),
        {},
        "dataset.json: training.0.label: Field required",
    ),
    ("lost label map", without(decathlon, "labelsTr/h_2.nii.gz"), {}, "labelsTr/h_2.nii.gz: no such file, but"),
    ("outside", plus(with_json(decathlon, training=[OUTSIDE]), "../here/x.nii"), {}, "here/x.nii: lies outside"),
    ("unknown value", decathlon, {"regions": {"x": [1, 9]}}, "--regions: 'x' has the value 9, which is no label of"),
    ("ignored value", nnunet, {"regions": {"x": 4}}, "--regions: 'x' has the value 4, which is no label of"),
    ("values are no integers", decathlon, {"regions": {"x": [1.5]}}, "--regions: the label values of 'x' are [1.5]"),
    ("value is true", decathlon, {"regions": {"x": True}}, "--regions: the label values of 'x' are [True]"),
    ("no values", decathlon, {"regions": {"x": []}}, "--regions: the label values of 'x' are []"),
    ("regions are text", decathlon, {"regions": "x=1"}, "--regions: pass the label values of each region"),
    ("region's name", decathlon, {"regions": {"_x": 1}}, "--regions: '_x' cannot name a region"),
    ("no file_ending", with_json(nnunet, file_ending=None), {}, "dataset.json: file_ending: Field required"),
    ("other file_ending", with_json(nnunet, file_ending=".png"), {}, "dataset.json: file_ending '.png': only"),
    ("label is text", with_json(nnunet, labels={"x": "1"}), {}, "dataset.json: labels.x"),
    ("label has no value", with_json(nnunet, labels={"x": []}), {}, "labels: name at least one label"),
    ("channel missing", without(nnunet, "imagesTr/p1_b_0001.nii.gz"), {}, "case p1_b has 1 of the 2 channels"),
    (
        "channel too many",
        plus(nnunet, "imagesTr/p1_a_0002.nii.gz"),
        {},
        "p1_a_0002.nii.gz: channel 2, but dataset.json names 2",
    ),
    (
        "no channel in a name",
        plus(nnunet, "imagesTr/x.nii.gz"),
        {},
        "imagesTr/x.nii.gz: nnU-Net's images are named CASE_0000.ext",
    ),
    (
        "label map without image",
        plus(nnunet, "labelsTr/x.nii.gz"),
        {},
        "labelsTr/x.nii.gz: this label map has no image",
    ),
    ("csv not given", labelled, {"kind": "csv"}, "--kind csv needs --csv TABLE"),
    ("csv missing", labelled, CSV | {"csv": "no.csv"}, "no.csv: cannot read this table (No such file"),
    ("csv empty", table(""), CSV, "table.csv: cannot read this table (No columns"),
    ("csv of a header", table("scan,split,whole,front\n"), CSV, "table.csv: lists no scan"),
    ("csv with a long row", table("scan,whole,front\na,1,0,1\n"), CSV, "table.csv: cannot read this table"),
    ("csv without regions", labelled, {"csv": "table.csv"}, "--regions: pass the label values of each region"),
    ("unknown column", table("scan,whole,front,age\na,1,0,3\n"), CSV, "table.csv: column 'age' is neither"),
    ("column twice", table("scan,whole,front,front\na,1,0,0\n"), CSV, "table.csv: has the column 'front' twice"),
    ("no scan column", table("name;whole;front\na;1;0\n"), CSV, "table.csv: column 'name;whole;front' is neither"),
    ("region without column", table("scan,whole\na,1\n"), CSV, "table.csv: has no column 'front'"),
    (
        "unknown split",
        table("scan,split,whole,front\na,trian,1,0\n"),
        CSV,
        "table.csv, row 2: split 'trian': write one of train",
    ),
    ("empty split", table("scan,split,whole,front\na,,1,0\n"), CSV, "table.csv, row 2: split ''"),
    ("scan twice", table("scan,whole,front\nb,1,0\na,1,0\nb,0,1\n"), CSV, "table.csv, row 2: scan 'b' is listed twice"),
    ("scan without image", table("scan,whole,front\na,1,0\nz,1,0\n"), CSV, "table.csv, row 3: scan 'z' has no image"),
    (
        "scan without label map",
        table("scan,whole,front\ne,1,0\n"),
        CSV,
        "table.csv, row 2: scan 'e' is annotated, but has no label map",
    ),
    ("neither 0 nor 1", table("scan,whole,front\na,1,2\n"), CSV, "table.csv, row 2: 'front' is '2'; write 1"),
    ("no subject", table("scan,subject,whole,front\na,,1,0\n"), CSV, "table.csv, row 2: scan 'a' has no subject"),
]


@pytest.mark.parametrize(("make", "options", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_gives_one_line_and_writes_nothing(
    make: Callable[[Path], None], options: dict[str, Any], words: str, source: Path
) -> None:
    make(source)
    with pytest.raises(UserError) as raised:
        datalist(str(source), **options)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [path.name for path in Path.cwd().iterdir() if path.name != "x.nii"] == []


def test_a_missing_source_is_a_user_error(source: Path) -> None:
    with pytest.raises(UserError, match="gone: no such folder"):
        datalist("gone")
