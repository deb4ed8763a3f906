"""What a region is called in DICOM: SNOMED CT codes of a small table, a private code for any other name."""

from __future__ import annotations

import colorsys
import csv
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conemos_bundle.errors import UserError
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

if TYPE_CHECKING:
    import highdicom

TABLE = Path(__file__).with_name("region_codes.csv")
COLUMNS = ["region", "only_with", "value", "meaning", "modifier"]
PRIVATE_SCHEME = "99CONEMOS"
CATEGORY = codes.SCT.AnatomicalStructure
# DICOM codes a side or a part as a modifier of the organ's code (CID 244), not as a code of its own
MODIFIERS = {
    "": None,
    "anterior": codes.SCT.Anterior,
    "posterior": codes.SCT.Posterior,
    "left": codes.SCT.Left,
    "right": codes.SCT.Right,
    "both": codes.SCT.Bilateral,
}


@dataclass(frozen=True)
class RegionCode:
    """The type of a segment, and what part or side of it the segment is."""

    type: Code
    modifier: Code | None = None

    def as_dict(self) -> dict[str, str]:
        """For the report."""
        part = {} if self.modifier is None else {"modifier": self.modifier.meaning}
        return {"scheme": self.type.scheme_designator, "value": self.type.value, "meaning": self.type.meaning, **part}


def read_table(path: Path = TABLE) -> list[dict[str, str]]:
    """The rows of a table of codes, see ``region_codes.csv``.

    Raises:
        UserError: the file is missing, has other columns, a modifier that is not known or a value that is no number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a table of codes; give a CSV file") from error
    if reader.fieldnames != COLUMNS:
        raise UserError(f"{path}: its first line must be {','.join(COLUMNS)}")
    for line, row in enumerate(rows, 2):
        if not row["value"].isdigit() or not row["meaning"] or row["modifier"] not in MODIFIERS:
            known = ", ".join(filter(None, MODIFIERS))
            raise UserError(f"{path}, line {line}: needs a SNOMED CT number, a meaning, and as modifier one of {known}")
    return rows


def region_code(region: str, region_names: Sequence[str], table: Sequence[dict[str, str]]) -> RegionCode:
    """The code of a region.

    Args:
        region: its name; letter case, ``_`` and ``-`` do not matter.
        region_names: all regions of the model: some names have a meaning only beside others (``anterior`` is a part of
            the hippocampus only where the model knows a hippocampus).
        table: of `read_table`.

    Returns:
        the table's code, else a private one that claims nothing but the name.
    """
    known = {_plain(name) for name in region_names}
    for row in table:
        if _plain(row["region"]) == _plain(region) and (not row["only_with"] or _plain(row["only_with"]) in known):
            return RegionCode(Code(row["value"], "SCT", row["meaning"]), MODIFIERS[row["modifier"]])
    # a code's value holds 16 characters, its meaning 64
    value = f"{zlib.crc32(region.encode()):08X}"
    return RegionCode(Code(value, PRIVATE_SCHEME, region[:64]))


def segment_descriptions(
    regions: Sequence[str], region_codes: Sequence[RegionCode], model: str, version: str
) -> list[highdicom.seg.SegmentDescription]:
    """Segments 1..R of a DICOM SEG, in the order of ``regions``, each with a color of its own."""
    import highdicom  # of an extra

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=model[:64], family=codes.DCM.ArtificialIntelligence, version=version[:64]
    )
    segments = []
    for index, (region, code) in enumerate(zip(regions, region_codes, strict=True)):
        red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1.0, 0.6, 0.9)  # golden ratio: neighbors differ
        segment = highdicom.seg.SegmentDescription(
            segment_number=index + 1,
            segment_label=region[:64],
            segmented_property_category=CATEGORY,
            segmented_property_type=code.type,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=highdicom.color.CIELabColor.from_rgb(*(int(255 * part) for part in (red, green, blue))),
        )
        if code.modifier is not None:
            concept = highdicom.sr.CodedConcept.from_code(code.modifier)
            segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [concept]
        segments.append(segment)
    return segments


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
