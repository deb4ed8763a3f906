"""What was found in a series: sizes, codes and files, as one small JSON without the patient's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conemos_bundle.predictor import Predictor
from conemos_bundle.volumes.dicom_tags import tag_value
from conemos_bundle.volumes.region_codes import RegionCode
from pydicom import Dataset

SEG = "segmentation.dcm"
SERIES_TAGS = ("StudyInstanceUID", "SeriesInstanceUID", "SeriesDescription", "Modality")


def make_report(
    datasets: Sequence[Dataset],
    predictor: Predictor,
    regions: Sequence[str],
    codes: Sequence[RegionCode],
    sizes: Mapping[str, Mapping[str, float]],
    segments_overlap: str,
    filled: Sequence[str],
) -> dict[str, Any]:
    """The content of ``report.json``.

    Args:
        datasets: the D slices.
        predictor: the model.
        regions: the R regions asked for.
        codes: of these regions.
        sizes: region to ``voxels`` and ``volume_ml``.
        segments_overlap: SegmentsOverlap of the SEG: ``YES``, ``NO`` or ``UNDEFINED``.
        filled: names of the tags that were absent or unreadable.
    """
    series = {
        tag: None if tag_value(datasets[0], tag) is None else str(tag_value(datasets[0], tag)) for tag in SERIES_TAGS
    }
    return {
        "series": {**series, "images": len(datasets), "tags_filled": list(filled)},
        "model": {"name": predictor.name, "version": predictor.version, "device": str(predictor.device)},
        "segmentation": {"file": SEG, "segments_overlap": segments_overlap},
        "regions": {
            region: {
                "segment": number,
                "voxels": int(sizes[region]["voxels"]),
                "volume_ml": sizes[region]["volume_ml"],
                "mask": f"masks/{region}.nii.gz",
                "code": code.as_dict(),
            }
            for number, (region, code) in enumerate(zip(regions, codes, strict=True), 1)
        },
        "use": "Research only; not for clinical use.",
    }
