from __future__ import annotations

import json
from pathlib import Path

from conemos_bundle.hosts.deploy.command import summary
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.hosts.deploy.report import make_report
from conemos_bundle.predictor import Predictor
from conemos_bundle.volumes.region_codes import read_table, region_code


def test_sizes_codes_files_and_what_was_filled_but_no_patient(series: Path, torchscript: Path) -> None:
    predictor, regions = Predictor.load(torchscript, "cpu"), ["posterior", "hippocampus"]
    codes = [region_code(region, predictor.regions, read_table()) for region in regions]
    sizes = {"hippocampus": {"voxels": 30, "volume_ml": 0.3375}, "posterior": {"voxels": 20, "volume_ml": 0.225}}
    datasets = find_series(series)
    report = make_report(datasets, predictor, regions, codes, sizes, "YES", ["PatientBirthDate"])
    assert report["regions"]["posterior"] == {
        "segment": 1,
        "voxels": 20,
        "volume_ml": 0.225,
        "mask": "masks/posterior.nii.gz",
        "code": {"scheme": "SCT", "value": "5366008", "meaning": "Hippocampus", "modifier": "Posterior"},
    }
    assert list(report["regions"]) == ["posterior", "hippocampus"]
    assert report["segmentation"] == {"file": "segmentation.dcm", "segments_overlap": "YES"}
    assert report["series"] == {
        "StudyInstanceUID": datasets[0].StudyInstanceUID,
        "SeriesInstanceUID": datasets[0].SeriesInstanceUID,
        "SeriesDescription": "made of a NIfTI",
        "Modality": "MR",
        "images": 8,
        "tags_filled": ["PatientBirthDate"],
    }
    assert report["model"]["device"] == "cpu"
    text = json.dumps(report) + summary(report, Path("/out"))
    assert "Test" not in text and "T1" not in text  # the name and ID of the patient
    assert "1 posterior: 20 voxels, 0.225 ml (SCT 5366008, Hippocampus, Posterior)" in text
    assert "missing or unreadable: PatientBirthDate" in text
