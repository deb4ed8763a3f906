"""The application: a checked series through the operators, to DICOM SEG and NIfTI in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.hosts.deploy.report import SEG
from conemos_bundle.hosts.deploy.sdk_operators import (
    MaskFilesOperator,
    RegionsInferenceOperator,
    SegFileOperator,
    SeriesLoaderOperator,
    SeriesVolumeOperator,
)
from conemos_bundle.predictor import Predictor
from conemos_bundle.volumes.region_codes import RegionCode
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from pydicom import Dataset


class SegmentRegions(Application):
    """Loader → selector → volume → inference → SEG and NIfTI writers.

    Args:
        datasets: the sorted images of one series, whose files have the pixels.
        predictor: the model.
        regions: the R regions asked for.
        codes: of those regions.
        output_folder: an existing folder for ``segmentation.dcm`` and ``masks/``.
    """

    def __init__(
        self,
        *,
        datasets: Sequence[Dataset],
        predictor: Predictor,
        regions: Sequence[str],
        codes: Sequence[RegionCode],
        output_folder: Path,
    ) -> None:
        super().__init__()
        self.datasets, self.codes, self.output_folder = datasets, list(codes), output_folder
        self.predictor, self.regions = predictor, list(regions)
        self.sizes: dict[str, Any] = {}  # voxels and volume per region, filled in by the run

    def compose(self) -> None:
        """Connect the operators."""
        loader = SeriesLoaderOperator(self, CountCondition(self, 1), datasets=self.datasets, name="loader")
        selector = DICOMSeriesSelectorOperator(self, rules=_EVERY_SERIES, name="selector")
        image = SeriesVolumeOperator(self, name="volume")
        source = f"series {self.datasets[0].SeriesInstanceUID}"
        given: dict[str, Any] = {"predictor": self.predictor, "regions": self.regions}
        inference = RegionsInferenceOperator(self, **given, source=source, name="inference")
        file = self.output_folder / SEG
        seg = SegFileOperator(self, **given, datasets=self.datasets, codes=self.codes, file=file, name="seg")
        files = MaskFilesOperator(self, **given, output_folder=self.output_folder, sizes=self.sizes, name="files")
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, image, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(image, inference, {("image", "image")})
        self.add_flow(inference, seg, {("pred", "pred")})
        self.add_flow(inference, files, {("pred", "pred")})


# the loader gives one series; without any rule the selector warns
_EVERY_SERIES = '{"selections": [{"name": "the series", "conditions": {"StudyInstanceUID": "(.*?)"}}]}'
