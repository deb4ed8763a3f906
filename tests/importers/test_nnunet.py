from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conemos_bundle.data.datalist import SPLITS, Datalist, MaskSource, Scan

DECATHLON_JSON = {
    "name": "Hippocampus",
    "licence": "CC-BY-SA 4.0",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "front", "2": "back"},
    "training": [{"image": f"./imagesTr/h_{n}.nii.gz", "label": f"./labelsTr/h_{n}.nii.gz"} for n in "123"],
    "test": ["./imagesTs/h_4.nii.gz"],
}
NNUNET_JSON = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "core": [2, 3], "whole": [1, 2, 3], "edge": 3, "ignore": 4},
    "file_ending": ".nii.gz",
}
CT_JSON = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}


def decathlon(**changes: Any) -> dict[str, Any]:
    """Files of a Medical Decathlon data set, with other values in its dataset.json."""
    names = [f"{kind}Tr/h_{number}.nii.gz" for kind in ("images", "labels") for number in "123"]
    return {**dict.fromkeys([*names, "imagesTs/h_4.nii.gz"], ""), "dataset.json": DECATHLON_JSON | changes}


def nnunet(**changes: Any) -> dict[str, Any]:
    """Files of an nnU-Net data set of two channels, with other values in its dataset.json."""
    cases = ("Tr/p1_a", "Tr/p1_b", "Tr/p2_a", "Ts/p3_a", "Ts/p4_a")
    images = [f"images{case}_{channel}.nii.gz" for case in cases for channel in ("0000", "0001")]
    labels = [f"labels{case}.nii.gz" for case in cases[:4]]
    return {**dict.fromkeys([*images, *labels], ""), "dataset.json": NNUNET_JSON | changes}


def test_decathlon_annotates_every_label(imported: Callable[..., Datalist], capsys: pytest.CaptureFixture[str]) -> None:
    data = imported(decathlon(), validation=0, test=0, reference="Antonelli 2022", name="mine")
    assert (data.name, data.license, data.modality, data.reference) == ("mine", "CC-BY-SA 4.0", "MRI", "Antonelli 2022")
    assert data.regions == ["front", "back"]
    assert data.training[1] == Scan(
        image="imagesTr/h_2.nii.gz",
        subject="h_2",
        masks={
            "front": MaskSource(file="labelsTr/h_2.nii.gz", values=[1]),
            "back": MaskSource(file="labelsTr/h_2.nii.gz", values=[2]),
        },
    )
    assert len({str(scan.image) for split in SPLITS for scan in data.scans(split)}) == 3
    assert "lists 1 test images without labels: left out" in capsys.readouterr().out


def test_decathlon_lists_labeled_validation_and_test_scans(
    imported: Callable[..., Datalist], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = DECATHLON_JSON["training"]  # type: ignore[misc]
    data = imported(
        decathlon(training=[first], validation=[second], test=[third, {"image": "imagesTs/h_4.nii.gz", "label": None}])
    )
    assert [[scan.subject for scan in data.scans(split)] for split in SPLITS] == [["h_1"], ["h_2"], ["h_3"]]
    assert data.test[0].source("back") == MaskSource(file="labelsTr/h_3.nii.gz", values=[2])
    assert "lists 1 test images without labels: left out" in capsys.readouterr().out


def test_asked_regions_are_unions_of_labels(imported: Callable[..., Datalist]) -> None:
    data = imported(decathlon(), regions={"front": 1, "whole": (1, 2)})
    assert data.regions == ["front", "whole"]
    for scan in (scan for split in SPLITS for scan in data.scans(split)):
        assert {region: scan.source(region).values for region in scan.masks} == {"front": [1], "whole": [1, 2]}


def test_nnunet_reads_channels_overlapping_regions_and_labeled_test_cases(
    imported: Callable[..., Datalist], capsys: pytest.CaptureFixture[str]
) -> None:
    data = imported(nnunet(), subject="^(p[0-9])_", validation=0.4)
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
    assert {data.test[0].source(region).ignore[0] for region in data.regions} == {4}
    assert "voxels of the label 'ignore' (4) are ignored" in capsys.readouterr().out


def test_nnunet_of_one_channel_is_one_file_and_a_case_without_labels_is_unknown(
    imported: Callable[..., Datalist],
) -> None:
    files = dict.fromkeys(("imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", "labelsTr/a.nii.gz"), "")
    data = imported(files | {"dataset.json": CT_JSON})
    assert [(scan.image, scan.subject, list(scan.masks)) for scan in data.training] == [
        ("imagesTr/a_0000.nii.gz", "a", ["liver"]),
        ("imagesTr/b_0000.nii.gz", "b", []),
    ]


def test_nnunet_with_labeled_test_cases_divides_the_others_in_two(imported: Callable[..., Datalist]) -> None:
    cases = [f"{path}.nii.gz" for n in range(20) for path in (f"imagesTr/c{n}_0000", f"labelsTr/c{n}")]
    files = dict.fromkeys([*cases, "imagesTs/t_0000.nii.gz", "labelsTs/t.nii.gz"], "")
    data = imported(files | {"dataset.json": CT_JSON})
    assert {split: len(data.scans(split)) for split in SPLITS} == {"training": 17, "validation": 3, "test": 1}
    assert data.test[0].subject == "t"


OUTSIDE = {"image": "../here/x.nii", "label": "../here/x.nii"}
BAD: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "no dataset.json",
        {"images/a.nii.gz": "", "masks/brain/a.nii.gz": ""},
        {"kind": "nnunet"},
        "dataset.json: cannot read it (No such file",
    ),
    ("dataset.json is no JSON", {"dataset.json": "{"}, {}, "dataset.json: not valid JSON"),
    ("dataset.json is a list", {"dataset.json": "[]"}, {}, "dataset.json: must be a JSON object"),
    ("no labels", decathlon(labels=None), {}, "dataset.json: labels: Field required"),
    ("label value is no number", decathlon(labels={"front": "1"}), {}, "labels: 'front' is no label value"),
    ("background only", decathlon(labels={"0": "background"}), {}, "labels: name at least one label"),
    ("label's name", decathlon(labels={"1": "a/b"}), {}, "dataset.json: 'a/b' cannot name a region"),
    ("training is empty", decathlon(training=[]), {}, "dataset.json: training: List should have at least 1"),
    ("entry without label", decathlon(training=[{"image": "a"}]), {}, "dataset.json: training.0.label: Field required"),
    (
        "label is a number",
        decathlon(validation=[{"image": "a", "label": 1}]),
        {},
        "dataset.json: validation: label: In",
    ),
    ("lost label map", decathlon() | {"labelsTr/h_2.nii.gz": None}, {}, "labelsTr/h_2.nii.gz: no such file, but"),
    ("outside", decathlon(training=[OUTSIDE]) | {"../here/x.nii": ""}, {}, "here/x.nii: lies outside"),
    ("unknown value", decathlon(), {"regions": {"x": [1, 9]}}, "--regions: 'x' has the value 9, which is no label of"),
    ("ignored value", nnunet(), {"regions": {"x": 4}}, "--regions: 'x' has the value 4, which is no label of"),
    ("values are no integers", decathlon(), {"regions": {"x": [1.5]}}, "--regions: the label values of 'x' are [1.5]"),
    ("value is true", decathlon(), {"regions": {"x": True}}, "--regions: the label values of 'x' are [True]"),
    ("no values", decathlon(), {"regions": {"x": []}}, "--regions: the label values of 'x' are []"),
    ("regions are text", decathlon(), {"regions": "x=1"}, "--regions: pass the label values of each region"),
    ("region's name", decathlon(), {"regions": {"_x": 1}}, "--regions: '_x' cannot name a region"),
    ("no file_ending", nnunet(file_ending=None), {}, "dataset.json: file_ending: Field required"),
    ("other file_ending", nnunet(file_ending=".png"), {}, "dataset.json: file_ending '.png': only"),
    ("label is text", nnunet(labels={"x": "1"}), {}, "dataset.json: labels.x"),
    ("label has no value", nnunet(labels={"x": []}), {}, "labels: name at least one label"),
    (
        "ignore is background",
        nnunet(labels={"x": 1, "ignore": 0}),
        {},
        "labels: 'ignore' is 0, and so is another label",
    ),
    (
        "ignore is in a region",
        nnunet(labels={"x": [1, 2], "ignore": 2}),
        {},
        "labels: 'ignore' is 2, and so is another",
    ),
    ("ignored as a region", nnunet(), {"regions": {"x": 4}}, "'x' has the value 4, which is no label"),
    ("channel missing", nnunet() | {"imagesTr/p1_b_0001.nii.gz": None}, {}, "case p1_b has 1 of the 2 channels"),
    (
        "channel too many",
        nnunet() | {"imagesTr/p1_a_0002.nii.gz": ""},
        {},
        "p1_a_0002.nii.gz: channel 2, but dataset.json names 2",
    ),
    (
        "no channel in a name",
        nnunet() | {"imagesTr/x.nii.gz": ""},
        {},
        "imagesTr/x.nii.gz: nnU-Net's images are named CASE_0000.ext",
    ),
    (
        "a tab in a label map's name",
        {
            "labelsTr/h\t1.nii.gz": "",
            **decathlon(training=[{"image": "imagesTr/h_1.nii.gz", "label": "labelsTr/h\t1.nii.gz"}]),
        },
        {},
        "'labelsTr/h\\t1.nii.gz': file: 'labelsTr/h\\t1.nii.gz' cannot be a path: empty, or with",
    ),
    (
        "label map without image",
        nnunet() | {"labelsTr/x.nii.gz": ""},
        {},
        "labelsTr/x.nii.gz: this label map has no image",
    ),
]


@pytest.mark.parametrize(("files", "options", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_gives_one_line_and_writes_nothing(
    files: dict[str, Any], options: dict[str, Any], words: str, refusal: Callable[..., str]
) -> None:
    assert words in refusal(files, **options)
