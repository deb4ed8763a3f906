from __future__ import annotations

from pathlib import Path

import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.region_codes import (
    COLUMNS,
    TABLE,
    RegionCode,
    read_table,
    region_code,
    segment_descriptions,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

HIPPOCAMPUS = ["hippocampus", "anterior", "posterior"]


def code(region: str, region_names: list[str] | None = None) -> RegionCode:
    return region_code(region, region_names or [region], read_table())


def test_every_code_of_the_table_is_known_to_pydicom_with_that_meaning_except_the_fetus() -> None:
    for row in read_table():
        if row["value"] == "83418008":  # FHIR's examples code the body site "Fetus" so; DICOM's lists have none
            assert row["meaning"] == "Fetus"
            continue
        assert row["value"] in {
            known.value for known in _snomed_codes() if row["meaning"].casefold() in known.meaning.casefold()
        }, row


def _snomed_codes() -> list[Code]:
    return [getattr(codes.SCT, name) for name in codes.SCT.dir()]


def test_no_region_has_two_codes_in_the_table() -> None:
    keys = [(row["region"], row["only_with"]) for row in read_table()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["left kidney", "Left_Kidney", "kidney-left"])
def test_a_side_is_a_modifier_of_the_organ(name: str) -> None:
    assert code(name) == RegionCode(codes.SCT.Kidney, codes.SCT.Left)


def test_a_part_of_the_hippocampus_is_one_only_beside_the_hippocampus() -> None:
    assert code("anterior", HIPPOCAMPUS) == RegionCode(codes.SCT.Hippocampus, codes.SCT.Anterior)
    assert code("anterior", ["anterior", "posterior"]).type.scheme_designator == "99CONEMOS"


def test_a_body_is_the_fetus_only_beside_a_uterus_or_a_placenta() -> None:
    assert code("body", ["body", "uterus"]).type == Code("83418008", "SCT", "Fetus")
    assert code("body", ["body", "placenta"]).type == Code("83418008", "SCT", "Fetus")
    assert code("body", ["body", "brain"]).type.scheme_designator == "99CONEMOS"


def test_an_unknown_name_gets_a_private_code_of_its_own_that_fits() -> None:
    names = [f"{'a very long name of a region ' * 3}{number}" for number in range(50)]
    found = [code(name).type for name in names]
    assert {one.scheme_designator for one in found} == {"99CONEMOS"}
    assert len({one.value for one in found}) == 50
    assert max(len(one.value) for one in found) <= 16 and max(len(one.meaning) for one in found) <= 64
    assert code("lesion 1").type.meaning == "lesion 1"


def test_segments_are_numbered_and_labeled_in_the_order_asked_for() -> None:
    regions = ["posterior", "hippocampus"]
    segments = segment_descriptions(regions, [code(region, HIPPOCAMPUS) for region in regions], "conemos", "0.1.0")
    assert [(segment.SegmentNumber, segment.SegmentLabel) for segment in segments] == [
        (1, "posterior"),
        (2, "hippocampus"),
    ]
    types = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in segments]
    assert [one.CodeValue for one in types] == ["5366008", "5366008"]
    assert types[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Posterior"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in types[1]
    assert segments[0].RecommendedDisplayCIELabValue != segments[1].RecommendedDisplayCIELabValue
    assert segments[0].SegmentAlgorithmName == "conemos"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("region;value\n", "its first line must be region,only_with,value,meaning,modifier"),
        (",".join(COLUMNS) + "\nliver,,10200004x,Liver,\n", "line 2"),
        (",".join(COLUMNS) + "\nliver,,10200004,Liver,upper\n", "as modifier one of anterior"),
        (",".join(COLUMNS) + "\nliver\n", "line 2"),
    ],
)
def test_a_table_with_a_mistake_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text(text)
    with pytest.raises(UserError) as error:
        read_table(tmp_path / "codes.csv")
    assert words in str(error.value)


def test_a_table_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text(TABLE.read_text() + "femur,,71341001,Femur,left\n")
    table = read_table(tmp_path / "codes.csv")
    assert region_code("femur", ["femur"], table) == RegionCode(Code("71341001", "SCT", "Femur"), codes.SCT.Left)
    with pytest.raises(UserError, match="cannot be read as a table"):
        read_table(tmp_path / "nothing.csv")
